/* As much of NVML as the meter calls: two GPUs, of which the second does not count. */
typedef struct device *device_t;
static unsigned long long used = 1000000ULL << 12; /* more than 32 bits */
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
  *device = (device_t)(0x7f0000000000ULL + index);
  return index < 2 ? 0 : 2;
}
int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *millijoules) {
  if ((unsigned long long)device != 0x7f0000000000ULL) return 3; /* NVML_ERROR_NOT_SUPPORTED */
  *millijoules = used += 2500;
  return 0;
}
