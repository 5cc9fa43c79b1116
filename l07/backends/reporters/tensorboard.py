"""TensorBoard's event files: `tensorboard --logdir DATA_DIR/tensorboard` shows them. No TensorFlow and no torch is needed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from l07.errors import ReporterDown
from l07.settings import Settings


def opened(settings: Settings) -> Callable[[], "TensorBoard"]:
    return lambda: TensorBoard(settings.data_dir / "tensorboard")


class TensorBoard:
    """One event file an attempt, in `<root>/<job>/attempt-<n>`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._writer: Any = None

    def begin(self, job: str, attempt: int, about: Mapping[str, Any]) -> None:
        try:
            self._writer = EventFileWriter(str(self._root / job / f"attempt-{attempt}"))
        except OSError as err:
            raise ReporterDown(f"TensorBoard's folder {self._root} cannot be written: {err.strerror}") from err

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        told = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        try:
            self._writer.add_event(Event(step=step, wall_time=time.time(), summary=Summary(value=told)))
        except OSError as err:  # its thread failed to write: a full disk
            raise ReporterDown(f"TensorBoard's folder {self._root} cannot be written: {err.strerror}") from err

    def end(self, state: str) -> None:
        try:
            self._writer.close()
        except OSError as err:
            raise ReporterDown(f"TensorBoard's folder {self._root} cannot be written: {err.strerror}") from err
