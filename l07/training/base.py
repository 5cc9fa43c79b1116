"""A base model's folder: is it complete, is it the one that the job names, what does it recommend."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from l07.errors import BaseDiffers, BaseIncomplete
from l07.training.files import file_digests, fold

ABOUT = "base.json"
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")
OF_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


def base_digest(folder: Path) -> str:
    """One digest of the folder's files, base.json aside: that holds the digest."""
    return fold(file_digests(folder, without=(ABOUT,)))


def check_base(folder: Path, digest: str) -> None:
    """Complete, and the one that the job names.

    Raises:
        BaseIncomplete: E7723. BaseDiffers: E7724."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise BaseIncomplete(f"the base {folder} lacks {', '.join(missing)}", missing=missing)
    found = base_digest(folder)
    if found != digest:
        raise BaseDiffers(f"the base {folder} has digest {found}, the job names {digest}")


def check_trained_on(adapter: Path, folder: Path) -> None:
    """Before the one is put upon the other: of the same shapes they would fit, and answer nonsense.

    Raises:
        BaseDiffers: E7724, the adapter was trained on another base. One that says nothing of its base is let through."""
    path = adapter / "l07.json"
    named = json.loads(path.read_text("utf-8")).get("base_digest") if path.is_file() else None
    found = about(folder).get("digest") or base_digest(folder)
    if named is not None and named != found:
        raise BaseDiffers(f"the adapter {adapter} was trained on a base with digest {named}, and {folder} has {found}")


def about(folder: Path) -> dict[str, Any]:
    """What base.json says; nothing for a base that somebody else made."""
    path = folder / ABOUT
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def load(
    folder: Path, *, in_4_bits: bool = False, dtype: torch.dtype = torch.float32, attention: str | None = None
) -> tuple[Any, Any]:
    """Model and tokenizer, from safetensors only; `in_4_bits` on a CUDA GPU, by bitsandbytes. `attention`: by which
    implementation, None: transformers' choice.

    Raises:
        BaseIncomplete: E7723, a file that cannot be read, or a tokenizer with nothing to pad with."""
    tokenizer = read_tokenizer(folder)
    return read_model(folder, in_4_bits=in_4_bits, dtype=dtype, attention=attention), tokenizer


def read_model(
    folder: Path, *, in_4_bits: bool = False, dtype: torch.dtype = torch.float32, attention: str | None = None
) -> Any:
    """The model alone. Raises BaseIncomplete (E7723)."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            **({"attn_implementation": attention} if attention else {}),
            **(_four_bits() if in_4_bits else {}),
        )
    except (ValueError, KeyError, SafetensorError) as err:
        raise BaseIncomplete(f"the base {folder} cannot be loaded: {type(err).__name__}") from err


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer alone. Raises BaseIncomplete (E7723): it cannot be read, or has nothing to pad with."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (ValueError, KeyError) as err:
        raise BaseIncomplete(f"the base {folder} cannot be loaded: {type(err).__name__}") from err
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise BaseIncomplete(
                f"the tokenizer of {folder} has neither a pad token nor an end token; name one in tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token  # never in a loss: labels of what is padded are ignored
    return tokenizer


def copy_tokenizer(folder: Path, target: Path) -> None:
    """Tokenizer and chat template as the base has them, byte for byte: what was trained is read with no other."""
    for name in OF_TOKENIZER:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def _four_bits() -> dict[str, Any]:
    """NF4 with double quantisation, computed in bfloat16. Source: Dettmers et al., "QLoRA" (2023), section 3."""
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": how, "device_map": {"": 0}}


def context(config: Any) -> int:
    """Tokens that a model with this config can look at."""
    return int(config.max_position_embeddings)


def read_config(folder: Path) -> Any:
    """The text model's config. Raises BaseIncomplete (E7723)."""
    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True).get_text_config()
    except (ValueError, KeyError) as err:
        raise BaseIncomplete(f"the base {folder} cannot be loaded: {type(err).__name__}") from err
