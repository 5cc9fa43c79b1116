"""LiteLLM: an entry of its `model_list`, as a file or by `POST /model/new` (its documentation marks that call BETA).

The entry's id follows from the model's digest, so the same model told twice is one deployment. The proxy takes the key of
the vLLM behind it from its own environment (HOSTED_VLLM_API_KEY); it never stands in an entry.
"""

import json
from collections.abc import Mapping
from typing import Any

from l07.backends.gateways.calls import Endpoint
from l07.errors import GatewayRefused

KEY = "LITELLM_MASTER_KEY"  # the proxy's own name for it


def entry(alias: str, served: str, api_base: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """`alias` is what clients ask for, `served` what the vLLM at `api_base` calls it; `about` has version, digest, verdict."""
    ident = f"{served}-{about['digest'][:12]}"
    return {
        "model_name": alias,
        "litellm_params": {"model": f"hosted_vllm/{served}", "api_base": api_base},
        "model_info": {"id": ident, **about},
    }


def as_yaml(one: Mapping[str, Any]) -> str:
    """A config file with this entry alone. Values are JSON, which is YAML."""
    lines = [f"- model_name: {json.dumps(one['model_name'])}"]
    for part in ("litellm_params", "model_info"):
        lines += [f"  {part}:", *(f"    {name}: {json.dumps(value)}" for name, value in one[part].items())]
    return "model_list:\n" + "\n".join(lines) + "\n"


def add(endpoint: Endpoint, one: Mapping[str, Any]) -> str:
    """Tell the proxy, and see that it has it: `loaded`, or `there` where it was already.

    Raises: GatewayRefused E7217, also where the list does not have it afterwards."""
    if _knows(endpoint, one):
        return "there"
    endpoint.post("/model/new", one)
    if not _knows(endpoint, one):
        name = one["model_name"]
        raise GatewayRefused(f"{endpoint.url} took {name} and does not list it in /model/info", url=endpoint.url)
    return "loaded"


def _knows(endpoint: Endpoint, one: Mapping[str, Any]) -> bool:
    found = endpoint.get("/model/info")
    models = found.get("data") if isinstance(found, dict) else None
    if not isinstance(models, list):
        raise GatewayRefused(f"{endpoint.url}/model/info is no list of models", url=endpoint.url)
    infos = [known.get("model_info") or {} for known in models if isinstance(known, dict)]
    return any(info.get("id") == one["model_info"]["id"] for info in infos)
