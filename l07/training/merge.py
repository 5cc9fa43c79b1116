"""The `merge` kind: a base and an adapter in, whole weights out, for a gateway that loads no adapters.

Source: Hu et al., "LoRA" (2021), section 4.2: merged, an adapter costs no time. Departure: it is merged in float32 and kept
in the base's own type, so with a base in bfloat16 the sum is rounded once, at the end.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from l07.errors import BadJob
from l07.training import base, lora
from l07.training.course import fix
from l07.training.files import file_digests, fold, fresh_partial, publish, write_json

LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


def run(job: Mapping[str, Any], job_dir: Path) -> dict[str, Any]:
    """Weights, config, tokenizer, chat template and the base's licence files; `parents` in base.json, so that an erasure
    reaches what is trained upon it.

    Raises: BaseIncomplete E7723, BaseDiffers E7724. BadJob E7706: an adapter that does not load upon this base."""
    fix(0, int(job["threads"]))
    folder, output = Path(job["base"]), Path(job["output"])
    partial = fresh_partial(output)
    base.check_base(folder, job["base_digest"])
    base.check_trained_on(Path(job["adapter"]), folder)
    model, _ = base.load(folder)
    merged = _merged(model, Path(job["adapter"])).to(_kept_as(folder))
    merged.save_pretrained(str(partial), safe_serialization=True)
    base.copy_tokenizer(folder, partial)
    for path in (found for pattern in LICENCES for found in folder.glob(pattern) if found.is_file()):
        shutil.copyfile(path, partial / path.name)
    # no digest in it: an export puts a card beside, and a base without one is digested as it lies there
    write_json(partial / base.ABOUT, {"name": job["name"], "parents": list(job["parents"])})
    files = file_digests(partial, without=(base.ABOUT,))
    publish(partial, output)
    return {"files": files, "digest": fold(files)}


def _merged(model: Any, adapter: Path) -> Any:
    try:
        return lora.merged(PeftModel.from_pretrained(model, str(adapter)))
    except (ValueError, KeyError, RuntimeError, SafetensorError) as err:
        raise BadJob(f"the adapter {adapter} does not load upon this base: {type(err).__name__}") from err


def _kept_as(folder: Path) -> torch.dtype:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    found = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32
