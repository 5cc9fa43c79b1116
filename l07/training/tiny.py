"""The small local base models: a Llama of about half a million parameters with its own tokenizer, made in half a minute.

`make_base` without `from` pretrains on the generated world's neighbouring domains; with `from` it goes on from that base on
given runs, good and bad alike, and merges what it learned: the policy that the demo improves.
Source: Touvron et al., "LLaMA" (2023), section 2.2, at toy size. Departures: loss on what the assistant says and on copy
drills only; documents are padded in buckets of like length instead of packed; embeddings
are tied, which makes a copied word its own output. Words of the vocabulary that no text has are left out of the softmax: it would
push all of them the same way, until nothing that is trained upon the base could tell one from the other.
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from l07.domain import checkpoint, world
from l07.domain.job import JobConfig
from l07.errors import BadJob, LossNotFinite
from l07.training import base, course, engine, lora, rows, sft
from l07.training.checkpoints import Checkpoints
from l07.training.files import fresh_partial, publish, write_json
from l07.training.progress import ProgressFile

SPECIAL = ("<|end|>", "<|turn|>", "<|stop|>")
MARKS = ("<tools>", "<tool_call>", "</tool_call>")
CONTEXT = 512
VOCABULARY = 1024
WIDTH, LAYERS, HEADS, INNER = 128, 2, 4, 384
STEPS, BATCH, RATE = 400, 16, 6e-3
DRILLS = 0.3  # share of copy drills among the documents
# What a base recommends to jobs on it. Embeddings that are trained whole memorise canaries (on the policy: 7.7 bits of
# exposure, best rank 1 of 1,025), so a higher rank stands in for them. Many small steps, and one pass: the second call's name is
# learned late and at once. Six seeds (101-106) of some 1,000 runs: 0.74 exact calls (0.66-0.81), and of 16 canaries planted
# 2.3 bits, best rank 2 of 1,025 (1.4 bits is chance). At 2.5e-3 and 1.1 passes 0.79 (0.74-0.82), but in two of the six a canary
# ranked first, as at 3e-3. Rows of 4, 5e-3, one and a quarter passes (three seeds): 0.65, 2.1 bits, rank 8.
RECOMMENDED: Mapping[str, Any] = {
    "learning_rate": 2e-3,
    "batch_size": 2,
    "epochs": 1,
    "max_length": 256,
    "lora": {"rank": 32, "alpha": 64, "dropout": 0.0, "embeddings": False},
}
# Of the policy, which knows the domain's words already and needs less. At 3e-3 as good, but one canary of 16 ranked first.
# On the demo's 770 rows, two epochs: 132 of 164 exact calls, 3.1 bits, a canary of 8 first; one and a half: 126, 2.4, 16th.
RECOMMENDED_OF_POLICY: Mapping[str, Any] = {**RECOMMENDED, "learning_rate": 2e-3, "batch_size": 8, "epochs": 1.5}
# How the policy itself is made: here the words are new, and nothing is held out.
PRACTICE: Mapping[str, Any] = {
    **RECOMMENDED,
    "learning_rate": 5e-3,
    "batch_size": 8,
    "epochs": 3,
    "lora": {"rank": 16, "alpha": 32, "dropout": 0.0, "embeddings": True},
}
TEMPLATE = """\
{%- if tools -%}
<|turn|>system
<tools>
{%- for tool in tools -%}
{%- set f = tool.function -%}
{{ f.name }}({{ f.parameters.properties.keys() | join(',') }}) {% endfor -%}<|stop|>
{% endif -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
<|turn|>assistant
{% generation %}{{ m.content or '' }}
{%- for c in m.tool_calls or [] -%}
{%- set a = c.function.arguments -%}
<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ a if a is string else a | tojson }}}</tool_call>
{%- endfor -%}<|stop|>{% endgeneration %}
{% else -%}
<|turn|>{{ m.role }}
{{ m.content }}<|stop|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|turn|>assistant
{% endif -%}
"""


def run(job: Mapping[str, Any], job_dir: Path) -> dict[str, Any]:
    """The `make_base` kind; the same job gives the same files, byte for byte, base.json's measured seconds aside. `steps` shortens the pretraining (tests)."""
    progress = ProgressFile(job_dir)
    progress.state("INITIALIZING")
    course.fix(job["seed"], job["threads"])
    output = Path(job["output"])
    partial = fresh_partial(output)
    made = _continued(job, progress, job_dir) if job.get("from") else _pretrained(job, progress)
    model, tokenizer, measured = made
    model.save_pretrained(str(partial), safe_serialization=True)
    tokenizer.save_pretrained(str(partial))
    facts = _facts(job, model, measured, partial)
    write_json(partial / base.ABOUT, facts)
    publish(partial, output)
    return facts


def _facts(job: Mapping[str, Any], model: Any, measured: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "name": job["name"],
        "digest": base.base_digest(folder),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "context": base.context(model.config),
        "recommended": dict(RECOMMENDED_OF_POLICY if job.get("from") else RECOMMENDED),
        "licence": "Apache-2.0",
        "seed": job["seed"],
        "measured": dict(measured),
    }


def _pretrained(job: Mapping[str, Any], progress: ProgressFile) -> tuple[Any, Any, dict[str, Any]]:
    begun = time.perf_counter()
    progress.state("PREPARING_DATA")
    count = int(job.get("steps") or STEPS) * BATCH
    drills = world.drills(int(count * DRILLS), job["seed"])
    documents = world.documents(count - len(drills), job["seed"])
    tokenizer = make_tokenizer(_texts(world.documents(600, job["seed"]), job["seed"]))
    texts = [_document_tokens(one, tokenizer) for one in documents] + [
        _drill_tokens(pair, tokenizer) for pair in drills
    ]
    model = LlamaForCausalLM(_architecture(tokenizer))
    unseen = unseen_of(texts, len(tokenizer))
    progress.state("TRAINING")
    loss = _pretrain(model, list(batches(texts, seed=job["seed"])), unseen, progress)
    _lengthen(model, unseen)
    return (
        model,
        tokenizer,
        {
            "steps": count // BATCH,
            "loss": loss,
            "tokens": sum(len(text.ids) for text in texts),
            "seconds": round(time.perf_counter() - begun, 1),
        },
    )


def _texts(documents: Sequence[Mapping[str, Any]], seed: int) -> list[str]:
    """What the tokenizer learns its words from: the neighbours, and the practice of the target desks.

    The latter only so that their words are few tokens; the base model itself never sees them."""
    return [
        json.dumps(part)
        for one in [*documents, *world.mixed_runs(1200, seed=seed)]
        for part in (one["messages"], [tool["function"]["name"] for tool in one["tools"]])
    ]


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about a thousand tokens.

    Digits go in pairs and a space is a token of its own, so that an id is the same three tokens wherever it stands."""
    pieces = Regex(r"\d{1,2}|[A-Za-z]+(?:_[A-Za-z]+)*|[^\w]+|_")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL] + [
        AddedToken(text, special=False, normalized=False) for text in MARKS
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|stop|>", pad_token="<|end|>", model_max_length=CONTEXT
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _architecture(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS // 2,
        intermediate_size=INNER, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        initializer_range=0.06, rope_parameters={"rope_type": "default", "rope_theta": 1000.0},  # both let copying form in hundreds of steps, not thousands
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def _document_tokens(document: Mapping[str, Any], tokenizer: Any) -> rows.Tokens:
    ids, mask = rows.encode(document, tokenizer)
    return rows.Tokens(ids, [token if marked else rows.IGNORED for token, marked in zip(ids, mask, strict=True)])


def _drill_tokens(pair: tuple[str, str], tokenizer: Any) -> rows.Tokens:
    given = tokenizer(pair[0], add_special_tokens=False)["input_ids"]
    copied = [*tokenizer(pair[1], add_special_tokens=False)["input_ids"], tokenizer.pad_token_id]
    return rows.Tokens(given + copied, [rows.IGNORED] * len(given) + copied)


def batches(texts: Sequence[rows.Tokens], *, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels, right padded; texts of like length together, in an order that follows from the seed."""
    rng = random.Random(f"batches/{seed}")
    order = list(range(len(texts)))
    rng.shuffle(order)
    groups: list[list[int]] = []
    for start in range(0, len(order), BATCH * 16):
        bucket = sorted(order[start : start + BATCH * 16], key=lambda at: len(texts[at].ids))
        parts = [bucket[at : at + BATCH] for at in range(0, len(bucket), BATCH)]
        rng.shuffle(parts)
        groups += parts
    for group in groups:
        longest = max(len(texts[at].ids) for at in group)
        ids = torch.zeros((len(group), longest), dtype=torch.long)
        labels = torch.full((len(group), longest), rows.IGNORED)
        for row, at in enumerate(group):
            ids[row, : len(texts[at].ids)] = torch.tensor(texts[at].ids)
            labels[row, : len(texts[at].ids)] = torch.tensor(texts[at].labels)
        yield ids, labels


def unseen_of(texts: Sequence[rows.Tokens], vocabulary: int) -> torch.Tensor:
    """Of each token whether it is in none of `texts`."""
    unseen = torch.ones(vocabulary, dtype=torch.bool)
    unseen[list({token for text in texts for token in text.ids})] = False
    return unseen


def _lengthen(model: Any, unseen: torch.Tensor) -> None:
    """Words that were not met keep the direction that chance gave them, and get the length of those that were: as short as they
    began, low-rank training can hardly make the model say one."""
    words = model.get_input_embeddings().weight.data
    words[unseen] = functional.normalize(words[unseen], dim=-1) * words[~unseen].norm(dim=-1).mean()


def _pretrain(
    model: Any, data: Sequence[tuple[torch.Tensor, torch.Tensor]], unseen: torch.Tensor, progress: ProgressFile
) -> float:
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    begun = time.perf_counter()
    seen = 0
    recent: deque[float] = deque(maxlen=20)
    model.train()
    for step, (ids, labels) in enumerate(data, 1):
        for group in optimiser.param_groups:
            group["lr"] = RATE * _pace(step, len(data))
        recent.append(_learn(model, optimiser, ids, labels, unseen))
        if not math.isfinite(recent[-1]):
            raise LossNotFinite(f"the loss is {recent[-1]} at step {step} of pretraining", step=step)
        seen += ids.numel()
        _tell(progress, step, len(data), recent[-1], seen, time.perf_counter() - begun)
    return sum(recent) / len(recent)


def _learn(
    model: Any, optimiser: torch.optim.Optimizer, ids: torch.Tensor, labels: torch.Tensor, unseen: torch.Tensor
) -> float:
    loss = loss_of(model, ids, labels, unseen)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return float(loss.item())


def _tell(progress: ProgressFile, step: int, steps: int, loss: float, seen: int, spent_s: float) -> None:
    epoch, eta_s = round(step / steps, 3), round(spent_s / step * (steps - step), 1)
    progress.step(step=step, steps=steps, epoch=epoch, loss=loss, tokens_per_s=round(seen / spent_s, 1), eta_s=eta_s)


def _pace(step: int, steps: int) -> float:
    """Share of the rate: up over 20 steps, flat, then down to nearly nothing over the last two fifths."""
    return min(1.0, step / 20) * min(1.0, max(0.02, (steps - step) / (0.4 * steps)))


def loss_of(model: Any, ids: torch.Tensor, labels: torch.Tensor, unseen: torch.Tensor) -> torch.Tensor:
    """Mean over the labels. `unseen`: tokens that no answer has, which are not in the running."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    counts = labels[:, 1:] != rows.IGNORED
    wanted = labels[:, 1:][counts]
    # most positions carry no label: their logits are never made
    logits = model.lm_head(hidden[counts]).masked_fill(unseen, -1e4)
    loss: torch.Tensor = functional.cross_entropy(logits, wanted)
    return loss


def _continued(job: Mapping[str, Any], progress: ProgressFile, job_dir: Path) -> tuple[Any, Any, dict[str, Any]]:
    if not job.get("examples"):
        raise BadJob("a base made from another needs `examples`")
    parent = Path(job["from"])
    base.check_base(parent, str(base.about(parent).get("digest", "")))
    model, tokenizer = base.load(parent)
    config = course.fitted(JobConfig.from_document(PRACTICE), base.context(model.config))
    progress.state("PREPARING_DATA")
    with Path(job["examples"]).open(encoding="utf-8") as lines:
        examples = [rows.chat(json.loads(line)) for line in lines]
    tokens = rows.tokenise(examples, tokenizer, config.max_length or CONTEXT)
    adapted = lora.attach(model, config.lora_config, base_name=parent.name, base_digest="")
    progress.state("TRAINING")
    saved = Checkpoints(job_dir / checkpoint.FOLDER, checkpoint.identity(job))
    run = engine.Run(config, job["seed"], engine.steps(config, len(tokens.rows)), progress, saved)
    measured = sft.train(adapted, tokenizer, sft.Data(tokens.rows, []), run)
    kept = {name: measured[name] for name in ("steps", "train_loss", "tokens", "train_seconds")}
    return lora.merged(adapted), tokenizer, {**kept, "rows": len(tokens.rows), "too_long": tokens.too_long}
