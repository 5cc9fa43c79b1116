"""Wording in a tool's output that is aimed at the agent: which of it, where, and how strong.

Every pattern runs in google-re2: linear in the text, whatever the text is. Patterns are written for the form of
`disguise.plain`: lower case, single blanks, no quotes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import re2

from l07.domain.injection.disguise import payloads, plain

BEHIND, AHEAD = 160, 400  # characters around a find that belong to it; behind, at most to the sentence's beginning
HIDDEN = 0.6  # that a readable order in base64, hex or rot13 is aimed at the agent, beside what it says
MOST_FINDS = 2_000  # of one output; what a text says two thousand times it says

_AGENT = (
    r"(?:(?:ai|a i|virtual|helpful|digital|llm|language) )?"
    r"(?:ai|llms?|gpt(?:[0-9a-z.-]{0,8})|claude|gemini|llama|chatgpt|copilot|language models?|assistants?|chat ?bots?|bots?|agents?|models?)"
)
_SEND = r"(?:send|e?mail|forward|reply|write|post|message|text|submit|upload|share|leak|exfiltrate)"
_PAY = r"(?:transfer|wire|pay|refund|deposit|donate|buy|purchase|order)"
_ALTER = r"(?:update|change|modify|replace|set|reset|delete|remove|erase|drop|cancel|move|rename|disable|grant|revoke)"
_MAKE = r"(?:create|add|invite|make|book|reserve|schedule|subscribe|register|sign up|install|execute|run|call|visit|open|click|download|browse|navigate|go to|give|leave|rate|escalate|assign|approve)"
_DO = rf"(?:{_SEND}|{_PAY}|{_ALTER}|{_MAKE})"
_ORDERS = r"(?:i?[a-z]?u?nstructions?|tasks?|prompts?|directions?|directives?|orders?|commands?|rules?|guidelines?|requests?|goals?|messages?|context|polic(?:y|ies))"


@dataclass(frozen=True, slots=True)
class Directive:
    """One kind of wording. `weight` is how far it alone makes a text a directive to an agent, 0-1: 0.8 and more only
    where no ordinary text has it, 0.3 for what letters and manuals say to people too."""

    kind: str
    weight: float
    pattern: str


DIRECTIVES: tuple[Directive, ...] = (
    Directive(
        "override",
        0.9,
        r"(?:ignore|disregard|forget|override|overrule|bypass|skip|neglect|abandon|drop) (?:(?:all|any|everything|every|your|the|of|my|these|those|this|that|what|about|from|users?) ){0,5}"
        rf"(?:previous|prior|preceding|earlier|above|original|former|current|initial|existing|other|foregoing|old|system|developer|users?|you (?:were|have been)) (?:[a-z]+ ){{0,2}}{_ORDERS}",
    ),
    Directive("override", 0.8, rf"(?:ignore|disregard|forget|override|stop) (?:everything|all|anything|whatever|what) (?:you|that|above|before|else|i|the user)\b"),
    Directive("override", 0.8, rf"(?:ignore|disregard|forget|override) (?:the user\b|your (?:task|instructions?|orders?|prompt|rules|guidelines))"),
    # the words of one whose letters were s p r e a d, or joined by underscores
    Directive("override", 0.8, r"(?:ignore|disregard|forget|override)_?(?:all|any|the|your)?_?(?:previous|prior|earlier)(?:_?[a-z]+)?"),
    Directive("markup", 0.7, r"<\|?/?(?:im_start|im_end|system|sys|inst|information|instructions?|admin[a-z_]*|override|prompt|endoftext|eot_id|start_header_id|begin_of_text)\|?>|\[/?(?:inst|system|sys|admin|instructions?)\]|<<sys>>|#{2,} ?(?:system|instructions?|new task|prompt)\b"),
    Directive("letter", 0.8, rf"important message (?:from|for|to)|(?:instructions?|note|message|notice|attention|reminder|hint|important|request|directive) (?:for|to) (?:(?:the|any|all|every|whichever|whatever|an|a|you|our|your) ){{0,2}}{_AGENT}\b|message from (?:me|the user|your (?:user|owner|developer|operator|creator|admin[a-z]*|boss)),? (?:[a-z]+ ){{0,4}}to you"),
    Directive("sequence", 0.8, r"before (?:you )?(?:can |may |could |do |are able to )?(?:solv|answer|complet|continu|finish|proceed|respond|do|go on|start|begin|fulfil)[a-z]* (?:with )?(?:the |your |my |this |that |any )?(?:users? |original |actual |current )?(?:tasks?|requests?|jobs?|questions?|query|work)|(?:task|request) that i gave you|do the following first|the following first:"),
    Directive("sequence", 0.4, r"(?:after|once) you (?:do|did|have done|are done with|finish|complete) (?:that|this|it)\b|before (?:you )?(?:can |may )?(?:continu|proceed|answer|go on|respond)[a-z]*"),
    Directive("address", 0.7, rf"(?:dear|hello|hey|hi|attention|listen) (?:dear )?{_AGENT}(?: helper)?\b[,:!. ]|(?:to|for) you,? {_AGENT}\b|(?:if|when|while|whichever|any|every) (?:you are )?(?:an? |the )?(?:ai|llm|language model|gpt|chatbot|bot)s?\b(?: [a-z]+){{0,3}} (?:read|process|see|handl|pars|summari|access|view|open)|(?:ai|llm|language model|chatbot) (?:agents?|assistants?|models?|systems?|helpers?)\b"),
    Directive("address", 0.5, rf"\b{_AGENT} (?:must|should|need to|needs to|have to|has to|shall|is required|are required|is instructed|are instructed|will now|is to|are to|please)\b|\bassistant[,:] ?(?:please |now |first |stop |{_DO}\b)|you are (?:an? )?(?:ai|llm|language model|required to|instructed to|ordered to)\b"),
    Directive("tool", 0.6, r"(?:use|call|invoke|run|execute|trigger) (?:the |a |your )?(?:tool|function|api|command) ?[a-z_]|(?:use|call|invoke|execute|trigger) (?:the )?[a-z]+_[a-z_]+|with (?:the )?following (?:arguments?|parameters?)|(?:next_action|tool_call|function_call|instruction)s? ?: ?\{? ?(?:instruction|name|call|function)"),
    Directive("goal", 0.7, r"\b(?:new|real|actual|true|updated|hidden|secret|additional|next) (?:task|goal|objective|instructions?|mission|assignment|directive|orders?) ?(?:is\b|are\b|:)|end of (?:the )?(?:task|prompt|instructions|system|user)|(?:just|only|strictly) (?:do|follow|adhere to|obey|execute) (?:this|the following|these) (?:instruction|command|order|task)|(?:adhere to|obey|comply with) (?:the following|these|this|my)"),
    Directive("secrecy", 0.7, r"(?:do not|dont|never|without) (?:tell|inform|mention|alert|notif|reveal|show|ask|disclos|report)[a-z]*(?: (?:it|this|that|anything|them))?(?: to)? (?:the |your |any )?(?:user|human|owner)s?\b"),
    Directive("persona", 0.6, r"\byou are now\b|from now on,? (?:you|act|respond|forward|send)|pretend (?:to be|that you|you)|(?:developer|dan|god|admin|debug|maintenance) mode|jailbreak|without (?:any )?(?:limits|restrictions|filters|safety)|lets play a game|policy update"),
    Directive("impostor", 0.4, rf"(?:^|[\n.!?)\]}}>; ])(?:user|human|system|developer|administrator|sysadmin) ?:? ?\]?: (?:actually|also|please|now|new|important|update|{_DO}\b)|(?:platform|system|security) (?:administrator|team|notice|override|update)\b|for security (?:reasons|purposes)"),
    Directive("urgency", 0.3, r"important ?!{2,}|urgent|right away|immediately|right now|at once|or else|will be (?:lost|deleted|terminated|suspended)"),
    Directive("request", 0.3, rf"(?:^|[.!?:;>\]}}] |please |kindly |must |should |shall |need to |needs to |have to |has to |required to |requested to |want you to |would like you to |be so kind as to |do |and |then |also |now |first |instead |just |actually )(?:please |also |now |first |immediately |actually ){{0,2}}{_DO} [\pL\pN$€£#@]"),
    # the same in other languages: to override, to address, to demand
    Directive("override", 0.9, r"ignorier\w* (?:\w+ ){0,3}(?:vorherig|bisherig|obig|vorangegangen|früher)\w* \w+|vergiss (?:\w+ ){0,2}(?:anweisung|vorherig|bisherig)\w*|missachte \w+ (?:\w+ )?anweisung\w*"),
    Directive("override", 0.9, r"(?:ignore[zr]?|oublie[zr]?|ne tene?z pas compte d\w*) (?:\w+ ){0,3}(?:instructions?|consignes?|directives?|ordres) (?:\w+ )?(?:précédent|antérieur|ci dessus)\w*"),
    Directive("override", 0.9, r"(?:ignor[ae]\w*|olvid[ae]\w*|haz caso omiso de) (?:\w+ ){0,3}(?:instrucciones|órdenes|indicaciones|tareas?) (?:\w+ )?(?:anterior|previa)\w*"),
    Directive("override", 0.9, r"(?:ignor[ae]\w*|esque[çc]a|desconsidere) (?:\w+ ){0,3}(?:instruções|ordens|comandos) (?:\w+ )?(?:anterior|prévia)\w*"),
    Directive("override", 0.9, r"(?:ignora|dimentica)\w* (?:\w+ ){0,3}(?:istruzioni|ordini|comandi) (?:\w+ )?(?:precedent|anterior)\w*|negeer (?:\w+ ){0,3}(?:vorige|eerdere|voorgaande) \w+|zignoruj (?:\w+ ){0,3}(?:poprzednie|wcześniejsze) \w+"),
    Directive("override", 0.9, r"(?:игнорируй|игнорируйте|проигнорируй|забудь|забудьте)(?:те)? (?:\pL+ ){0,3}(?:предыдущи|прежни|прошлы|инструкц)\pL*|ігноруй(?:те)? (?:\pL+ ){0,3}попередн\pL*"),
    Directive("override", 0.9, r"(?:忽略|无视|無視|忘记|忘記|忽視)\pL{0,8}(?:指令|指示|命令|提示|任务|任務|要求)|(?:以前|これまで|前|上記)の(?:すべての)?(?:指示|命令)を(?:無視|忘れ)|이전 ?(?:의 )?(?:모든 )?(?:지시|명령)\pL* ?(?:을|를)? ?무시"),
    Directive("override", 0.9, r"تجاهل (?:\pL+ ){0,3}(?:التعليمات|الأوامر|تعليمات)|התעלם (?:\pL+ ){0,3}(?:ההוראות|הוראות)|önceki (?:\pL+ ){0,2}(?:talimat|komut)\pL* (?:yok say|unut|görmezden)|पिछले (?:\pL+ ){0,3}निर्देश\pL* "),
    Directive("address", 0.6, r"(?:hinweis|anweisung|nachricht) (?:\pL+ ){0,2}(?:ki|ai)\b[ -]?\w*|(?:ki|ai)[ -](?:assistent|agent)\w*|(?:assistant|agent|modèle) (?:ia|d ia)\b|(?:asistente|agente) (?:de )?ia\b|(?:assistente|agente) (?:de )?ia\b|ии[ -]?(?:ассистент|агент|помощник)\pL*|(?:人工智能|ai) ?助手|aiアシスタント"),
    Directive("sequence", 0.5, r"antes de (?:continuar|seguir|responder|proceder|prosseguir)|avant de (?:continuer|poursuivre|répondre)|bevor (?:du|sie) (?:fortf|weiterm|antwort|die aufgabe)\w*|прежде чем (?:продолж|отве)\pL*"),
    Directive("request", 0.3, r"(?:überweis|schick|send|lösch|änder|buch|reservier|erstell|übermitt)\w* (?:sie |bitte |du |umgehend |sofort |\d)|(?:envoy|transfér|supprim|effac|vir|modifi|réserv|créé?)(?:ez|er)\b|(?:debes|deberás|debe|por favor|y) (?:\pL+r)\b|(?:env[ií]a|transfi[eé]r[ea]|borra|elimina|cambia|reserva|crea|transfira|envie|apague|altere)\b|(?:отправь|переведи|удали|измени|создай|пришли|перешли|забронируй)(?:те)?\b|(?:发送|转账|轉帳|删除|刪除|修改|预订|預訂|创建|轉發|转发|送信|削除|送金)|(?:أرسل|حوّل|حول|احذف|غيّر)\b"),
)  # fmt: skip

_ENCODED = r"[a-z0-9+/_-]{32,}|vtaber|qvfertneq|bireevqr|vafgehpgvba|cerivbhf|nffvfgnag"


def _compile() -> tuple[Any, Sequence[Any]]:
    options = re2.Options()
    options.log_errors = False
    gate = re2.Set.SearchSet(options)
    for pattern in (*(directive.pattern for directive in DIRECTIVES), _ENCODED):
        gate.Add(pattern)
    gate.Compile()
    return gate, [re2.compile(directive.pattern, options) for directive in DIRECTIVES]


_GATE, _PATTERNS = _compile()


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of one tool output that reads as a directive."""

    output: int  # number of the tool output in the run
    text: str  # in plain form
    strength: float  # 0-1: that the text wants something of the agent
    kinds: frozenset[str]


class _Find(NamedTuple):
    start: int
    end: int
    directive: Directive


def passages(outputs: Sequence[str], texts: Sequence[str]) -> list[Passage]:
    """Every directive passage of tool outputs, raw and in plain form, in their order; what an encoded payload says is
    one too."""
    if not _GATE.Match("\n".join(texts)):  # one look at the whole run: most runs hold nothing
        return []
    found: list[Passage] = []
    for number, (raw, text) in enumerate(zip(outputs, texts, strict=True)):
        kinds = _GATE.Match(text) or ()
        found.extend(_of_text(number, text, kinds))
        if len(DIRECTIVES) in kinds:
            found.extend(_hidden(number, raw))
    return found


def _hidden(number: int, raw: str) -> Iterator[Passage]:
    """An order that was encoded was not meant for a person: its kinds count, and that it was hidden."""
    for payload in payloads(raw):
        text = plain(payload)
        for passage in _of_text(number, text, _GATE.Match(text) or ()):
            strength = either((passage.strength, HIDDEN))
            yield Passage(number, passage.text, strength, passage.kinds | {"hidden"})


def _of_text(number: int, text: str, kinds: Iterable[int]) -> Iterator[Passage]:
    finds: list[_Find] = []
    for kind in kinds:
        if kind < len(DIRECTIVES):
            for match in _PATTERNS[kind].finditer(text):
                finds.append(_Find(match.start(), match.end(), DIRECTIVES[kind]))
                if len(finds) % MOST_FINDS == 0:
                    break
    return _merged(number, text, sorted(finds, key=lambda find: (find.start, find.end)))


def _merged(number: int, text: str, finds: Sequence[_Find]) -> Iterator[Passage]:
    """Finds whose surroundings touch are one passage; its strength is that of its different kinds together."""
    start = end = 0
    weights: dict[str, float] = {}
    for find in finds:
        closes = text.startswith(("</", "[/"), find.start)
        before = _beginning(text, find.start)
        if weights and before > end:
            yield _passage(number, text[start:end], weights)
            weights = {}
        start = start if weights else max(before, end)
        end = find.end if closes else max(end, find.end + AHEAD)
        weights[find.directive.kind] = max(weights.get(find.directive.kind, 0.0), find.directive.weight)
        if closes:
            yield _passage(number, text[start:end], weights)
            weights = {}
    if weights:
        yield _passage(number, text[start:end], weights)


def _passage(number: int, text: str, weights: dict[str, float]) -> Passage:
    return Passage(number, text, either(weights.values()), frozenset(weights))


def _beginning(text: str, at: int) -> int:
    """Where the sentence begins that holds this place, at most BEHIND characters back."""
    least = max(0, at - BEHIND)
    return max(least, *(text.rfind(mark, least, at) + 1 for mark in (". ", "! ", "? ", ": ", "> ", "] ", "; ")))


def either(weights: Iterable[float]) -> float:
    """That at least one of several chances holds, were they independent."""
    none = 1.0
    for weight in weights:
        none *= 1.0 - weight
    return round(1.0 - none, 6)
