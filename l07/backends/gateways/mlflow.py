"""MLflow: the folder of its `transformers` flavour, written without MLflow.

Source: mlflow/transformers/__init__.py, `load_model`: MLmodel beside `model/` and `components/tokenizer/`. The flavour
`python_function` (`mlflow models serve`) is left out: it needs a signature, which nobody has declared.
"""

import json
import shutil
from pathlib import Path

MODEL = "model"
_TOKENIZER = ("tokenizer*", "chat_template.jinja", "special_tokens_map.json", "vocab.json", "merges.txt")


def lay_out(folder: Path, name: str) -> None:
    """Around the whole weights in `folder`/model."""
    config = json.loads((folder / MODEL / "config.json").read_text("utf-8"))
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    values = {
        "components": ["tokenizer"], "instance_type": "TextGenerationPipeline", "model_binary": MODEL,
        "pipeline_model_type": config["architectures"][0], "source_model_name": name, "task": "text-generation",
        "tokenizer_type": "PreTrainedTokenizerFast", "torch_dtype": f"torch.{dtype}",
    }  # fmt: skip
    lines = [f"    {key}: {json.dumps(value)}\n" for key, value in values.items()]  # JSON is YAML
    (folder / "MLmodel").write_text("flavors:\n  transformers:\n" + "".join(lines), "utf-8")
    target = folder / "components" / "tokenizer"
    target.mkdir(parents=True)
    for path in (found for pattern in _TOKENIZER for found in (folder / MODEL).glob(pattern)):
        shutil.copyfile(path, target / path.name)


def load(folder: str) -> str:
    return f"mlflow.transformers.load_model({json.dumps(folder)})"
