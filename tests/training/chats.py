"""Chat templates of several families and tokenizers of several kinds, made here; and, without Jinja, what each template has
to write: pieces of text, each with whether it is to be learned from."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

Pieces = list[tuple[str, bool]]
Row = dict[str, Any]

HERMES = """{%- if tools -%}<|im_start|>system
{% for t in tools %}{{ t | tojson }}
{% endfor %}<|im_end|>
{% endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}<|im_start|>assistant
{% generation %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endgeneration %}
{%- else -%}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endif -%}
{%- endfor -%}"""

INST = """{%- if tools -%}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{% generation %}{{ m.content }}{% if m.tool_calls %}[TOOL_CALLS]{% endif %}
{%- for c in m.tool_calls or [] %}{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}
{%- endfor %}</s>{% endgeneration %}
{%- elif m.role == 'tool' -%}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]
{%- else -%}[INST]{{ m.content }}[/INST]
{%- endif -%}
{%- endfor -%}"""

PLAIN = """{%- for t in tools or [] -%}Tool: {{ t.function.name }}
{% endfor -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}Assistant: {% generation %}{{ m.content }}
{%- for c in m.tool_calls or [] %} call {{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %} {% endgeneration %}{{ '\n' }}
{%- else -%}{{ m.role | capitalize }}: {{ m.content }}
{% endif -%}
{%- endfor -%}"""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def hermes(row: Row) -> Pieces:
    out: Pieces = []
    if row["tools"]:
        out.append(("<|im_start|>system\n" + "".join(f"{_json(t)}\n" for t in row["tools"]) + "<|im_end|>\n", False))
    for m in row["messages"]:
        out.append((f"<|im_start|>{m['role']}\n", False))
        if m["role"] == "assistant":
            calls = "".join(
                f'<tool_call>\n{{"name": "{c["function"]["name"]}", "arguments": {_json(c["function"]["arguments"])}}}\n</tool_call>'
                for c in m.get("tool_calls", ())
            )
            out.append((f"{m['content']}{calls}<|im_end|>\n", True))
        else:
            out.append((f"{m['content']}<|im_end|>\n", False))
    return out


def inst(row: Row) -> Pieces:
    out: Pieces = [(f"[AVAILABLE_TOOLS]{_json(row['tools'])}[/AVAILABLE_TOOLS]", False)] if row["tools"] else []
    for m in row["messages"]:
        if m["role"] == "assistant":
            calls = "".join(
                f"{c['function']['name']}[ARGS]{_json(c['function']['arguments'])}" for c in m.get("tool_calls", ())
            )
            out.append((m["content"] + (f"[TOOL_CALLS]{calls}" if calls else "") + "</s>", True))
        else:
            mark = "TOOL_RESULTS" if m["role"] == "tool" else "INST"
            out.append((f"[{mark}]{m['content']}[/{mark}]", False))
    return out


def plain(row: Row) -> Pieces:
    out: Pieces = [(f"Tool: {t['function']['name']}\n", False) for t in row["tools"]]
    for m in row["messages"]:
        if m["role"] == "assistant":
            calls = "".join(
                f" call {c['function']['name']} {_json(c['function']['arguments'])}" for c in m.get("tool_calls", ())
            )
            out += [("Assistant: ", False), (f"{m['content']}{calls} ", True), ("\n", False)]
        else:
            out.append((f"{m['role'].capitalize()}: {m['content']}\n", False))
    return out


TEMPLATES: dict[str, tuple[str, Callable[[Row], Pieces], Sequence[str]]] = {
    "hermes": (HERMES, hermes, ("<|im_start|>", "<|im_end|>")),
    "inst": (INST, inst, ("[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "</s>")),
    "plain": (PLAIN, plain, ()),
}


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def metaspace() -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="never")
    return made


def blanks_dropped() -> Tokenizer:
    """As BERT's: lower case, and no token has a blank."""
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    return made


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "metaspace": metaspace,
    "blanks_dropped": blanks_dropped,
}
_TRAINERS: dict[str, Any] = {
    "byte_level": lambda special: trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
    "metaspace": lambda special: trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False),
    "blanks_dropped": lambda special: trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=special, show_progress=False
    ),
}


def a_tokenizer(template: str, kind: str, texts: Sequence[str], **special: str) -> PreTrainedTokenizerFast:
    """Of this kind, taught by `texts`, with this template and the tokens that it writes."""
    text, _, marks = TEMPLATES[template]
    made = KINDS[kind]()
    names = ["<unk>", "<end>", *marks]
    made.train_from_iterator(texts, _TRAINERS[kind]([AddedToken(n, special=True, normalized=False) for n in names]))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", **{"eos_token": "<end>", "pad_token": "<end>", **special}
    )
    tokenizer.chat_template = text
    return tokenizer
