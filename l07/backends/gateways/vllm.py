"""vLLM: what its LoRA loader takes, the folder that its filesystem resolver looks into, and its endpoint for adapters.

Source: vLLM docs/features/lora.md, vllm/lora/peft_helper.py and vllm/plugins/lora_resolvers/filesystem_resolver.py. The
resolver loads DIR/NAME where `peft_type` is LORA and `base_model_name_or_path` is, letter for letter, what `vllm serve` was
given; anything else it passes over without a word.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from l07.backends.gateways.calls import Endpoint
from l07.errors import GatewayRefused, GatewayUnfit

KEY = "VLLM_API_KEY"  # the server's own name for it
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank may be


def check(config: Mapping[str, Any], model: str) -> None:
    """Raises GatewayUnfit E7216: an adapter that vLLM refuses, or worse, passes over."""
    wrong = {
        "it is no LoRA": config.get("peft_type") != "LORA",
        "it trains whole modules (modules_to_save), which vLLM does not take": bool(config.get("modules_to_save")),
        "it is a DoRA, which vLLM does not take": bool(config.get("use_dora")),
        "it trains biases": config.get("bias", "none") != "none",
        f"its rank is above {RANKS[-1]}": int(config.get("r") or 0) > RANKS[-1],
    }
    found = [why for why, is_so in wrong.items() if is_so]
    if found:
        raise GatewayUnfit(
            f"vLLM cannot load {model} as an adapter: {'; '.join(found)}. --merged gives whole weights", model=model
        )


def serve(base: str, folder: str, rank: int) -> str:
    """The server that finds the adapter by itself."""
    most = next((one for one in RANKS if one >= rank), rank)
    return (
        f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=true VLLM_PLUGINS=lora_filesystem_resolver VLLM_LORA_RESOLVER_CACHE_DIR={shlex.quote(folder)}"
        f" vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {most}"
    )


def serve_whole(folder: str, name: str) -> str:
    return f"vllm serve {shlex.quote(folder)} --served-model-name {shlex.quote(name)}"


def body(name: str, path: str) -> dict[str, str]:
    return {"lora_name": name, "lora_path": path}


def load(endpoint: Endpoint, name: str, path: str) -> str:
    """Load the adapter and see that it is there: `loaded`, or `there` where it was already, from this very path.

    One process of the server answers: behind a balancer each needs the call, or the resolver's folder.

    Raises: GatewayRefused E7217, also where another adapter has that name, or the list does not have it afterwards."""
    known = _listed(endpoint)
    if name in known:
        if known[name] == path:
            return "there"
        raise GatewayRefused(
            f"{endpoint.url} serves another {name}, from {known[name]}: give it another --name", url=endpoint.url
        )
    endpoint.post("/v1/load_lora_adapter", body(name, path))
    if name not in _listed(endpoint):
        raise GatewayRefused(f"{endpoint.url} took {name} and does not list it in /v1/models", url=endpoint.url)
    return "loaded"


def _listed(endpoint: Endpoint) -> dict[str, Any]:
    """Path by name of what it serves."""
    found = endpoint.get("/v1/models")
    models = found.get("data") if isinstance(found, dict) else None
    if not isinstance(models, list):
        raise GatewayRefused(f"{endpoint.url}/v1/models is no list of models", url=endpoint.url)
    return {str(one["id"]): one.get("root") for one in models if isinstance(one, dict) and "id" in one}
