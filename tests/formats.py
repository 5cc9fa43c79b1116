"""What other trainers ask of a line, written anew from their documents; no code of the product."""

import json
import re
from typing import Any

# OpenAI's API reference: FineTuneChatRequestInput, ChatCompletionRequestMessage, ChatCompletionTool
_MESSAGE_KEYS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "tool_calls", "weight"},
    "tool": {"role", "content", "tool_call_id"},
}


def openai_faults(line: Any) -> list[str]:
    """Everything that a fine-tuning file's line must not have; empty: it may be sent."""
    faults = [f"key {key}" for key in line.keys() - {"messages", "tools", "parallel_tool_calls"}]
    messages = line.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*faults, "no messages"]
    for message in messages:
        faults += _message_faults(message)
    if messages[-1].get("role") != "assistant":
        faults.append("the last turn is not the assistant's")
    faults += _call_faults(messages)
    tools = line.get("tools", [])
    if len(tools) > 128:
        faults.append("more than 128 tools")
    for tool in tools:
        if tool.get("type") != "function" or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["function"].get("name", "")):
            faults.append(f"tool {tool}")
    if "parallel_tool_calls" in line and (not tools or not isinstance(line["parallel_tool_calls"], bool)):
        faults.append("parallel_tool_calls without tools")
    return faults


def _message_faults(message: dict[str, Any]) -> list[str]:
    role = message.get("role", "")
    if role not in _MESSAGE_KEYS:
        return [f"role {role!r}"]
    faults = [f"{role} has {key}" for key in message.keys() - _MESSAGE_KEYS[role]]
    if not isinstance(message.get("content"), str) and not (role == "assistant" and message.get("tool_calls")):
        faults.append(f"{role} without text")
    for call in message.get("tool_calls", ()):
        function = call.get("function", {})
        if call.keys() != {"id", "type", "function"} or call["type"] != "function" or not call["id"]:
            faults.append(f"call {call}")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function.get("name", "")):
            faults.append(f"call name {function.get('name')}")
        if not isinstance(function.get("arguments"), str) or not isinstance(json.loads(function["arguments"]), dict):
            faults.append("arguments are no JSON object as text")
    return faults


def _call_faults(messages: list[dict[str, Any]]) -> list[str]:
    """After a turn with calls come exactly their answers, then anything else."""
    faults, waiting = [], list[str]()
    for message in messages:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in waiting:
                faults.append("an answer without its call")
            else:
                waiting.remove(message["tool_call_id"])
        elif waiting:
            faults.append("a call without its answer")
        if message.get("role") != "tool":
            waiting = [call["id"] for call in message.get("tool_calls", ())]
            if len(set(waiting)) < len(waiting):
                faults.append("two calls of one turn with one id")
    return faults


def sharegpt_faults(line: Any) -> list[str]:
    """LLaMA-Factory, data/README.md: human and observation at odd places, gpt and function_call at even ones; its
    formatter reads calls as {"name", "arguments"} or a list of such, tools as a list."""
    turns = line["conversations"]
    faults = [fault for at, turn in enumerate(turns) for fault in _turn_faults(at, turn)]
    if len(turns) % 2:
        faults.append("an odd number of turns")
    tools = json.loads(line["tools"] or "[]")
    if not isinstance(line["system"], str) or not isinstance(tools, list):
        return [*faults, "system or tools"]
    return faults + [f"tool {tool}" for tool in tools if not _formatter_reads(tool)]


def _formatter_reads(tool: Any) -> bool:
    """LLaMA-Factory's DefaultToolUtils: it asks each of these without looking whether it is there."""
    try:
        tool["name"] + ""
        return all(
            ", ".join(part.get("enum") or ()) is not None and (part.get("items") or {}).get("type", "") is not None
            for part in tool["parameters"]["properties"].values()
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _turn_faults(at: int, turn: dict[str, str]) -> list[str]:
    faults = []
    if turn["from"] not in (("gpt", "function_call") if at % 2 else ("human", "observation")):
        faults.append(f"{turn['from']} at place {at + 1}")
    if not isinstance(turn["value"], str):
        return [*faults, f"{turn['from']} is no text"]
    if turn["from"] == "function_call":
        calls = json.loads(turn["value"])
        for call in calls if isinstance(calls, list) else [calls]:
            if call.keys() != {"name", "arguments"} or not isinstance(call["arguments"], dict):
                faults.append(f"call {call}")
    return faults


def a_tokenizer() -> Any:
    """One that only renders: the messages, then the tools."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")))
    made.chat_template = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}{{ tools | tojson }}"
    return made
