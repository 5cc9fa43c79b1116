"""The wordings that are looked for in tool outputs, as a table: kind, weight, alternatives.

Patterns are for google-re2 and for the form of `disguise.plain`: lower case, single blanks, no quotes. AGENT, DEED and
ORDERS stand for the lists below. Collected from the attacks of AgentDojo and InjecAgent, from lists of jailbreaks, and
from what the chat templates of open models use as role markers.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Directive:
    """One kind of wording. `weight` is how far it alone makes a text a directive to an agent, 0-1: 0.8 and more only
    where no ordinary text has it, 0.3 for what letters and manuals say to people too. Kinds add up, repeats do not."""

    kind: str
    weight: float
    alternatives: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """One pattern of all alternatives, with the lists put in."""
        text = "|".join(self.alternatives)
        for name, words in LISTS.items():
            text = text.replace(name, words)
        return text

    @property
    def gate(self) -> str:
        """Found in every text in which the pattern is found: each character beyond ASCII is a letter, for classes of
        Unicode make an automaton large."""
        return self.pattern.replace(r"[\pL\pN$€£#@]", rf"[{_LETTERS}0-9$#@]").replace(r"\pL", f"[{_LETTERS}]")


_LETTERS = r"A-Za-z\x{80}-\x{10ffff}"
LISTS = {
    "AGENT": r"(?:(?:ai|a i|virtual|helpful|digital|llm|language) )?(?:ai|llms?|gpt(?:[0-9a-z.-]{0,8})|claude|gemini|"
    r"llama|chatgpt|copilot|language models?|assistants?|chat ?bots?|bots?|agents?|models?)",
    "DEED": "(?:"
    + "|".join(
        "send e?mail forward reply write post message text submit upload share leak exfiltrate transfer wire pay refund deposit "
        "donate buy purchase order update change modify replace set reset delete remove erase drop cancel move rename disable "
        "grant revoke create add invite make book reserve schedule subscribe register install execute run call visit open "
        "click download browse navigate give leave rate escalate assign approve".split()
    )
    + "|sign up|go to)",
    "ORDERS": r"(?:i?[a-z]?u?nstructions?|tasks?|prompts?|directions?|directives?|orders?|commands?|rules?|guidelines?|"
    r"requests?|goals?|messages?|context|polic(?:y|ies))",
}

ENGLISH: tuple[Directive, ...] = (
    Directive(
        "override",
        0.9,
        (
            r"(?:ignore|disregard|forget|override|overrule|bypass|skip|neglect|abandon|drop) (?:(?:all|any|everything|"
            r"every|your|the|of|my|these|those|this|that|what|about|from|users?) ){0,5}(?:previous|prior|preceding|"
            r"earlier|above|original|former|current|initial|existing|other|foregoing|old|system|developer|users?|you "
            r"(?:were|have been)) (?:[a-z]+ ){0,2}ORDERS",
        ),
    ),
    Directive(
        "override",
        0.8,
        (
            r"(?:ignore|disregard|forget|override|stop) (?:everything|all|anything|whatever|what) (?:you|that|above|"
            r"before|else|i|the user)\b",
        ),
    ),
    Directive(
        "override",
        0.8,
        (
            r"(?:ignore|disregard|forget|override) (?:the user\b|your (?:task|instructions?|orders?|prompt|rules|"
            r"guidelines))",
        ),
    ),
    Directive(
        "override",
        0.8,
        (r"(?:ignore|disregard|forget|override)_?(?:all|any|the|your)?_?(?:previous|prior|earlier)(?:_?[a-z]+)?",),
    ),
    Directive(
        "markup",
        0.7,
        (
            r"<\|?/?(?:im_start|im_end|system|sys|inst|information|instructions?|admin[a-z_]*|override|prompt|"
            r"endoftext|eot_id|start_header_id|begin_of_text)\|?>",
            r"\[/?(?:inst|system|sys|admin|instructions?)\]",
            r"<<sys>>",
            r"#{2,} ?(?:system|instructions?|new task|prompt)\b",
        ),
    ),
    Directive(
        "letter",
        0.8,
        (
            r"important message (?:from|for|to)",
            r"(?:instructions?|note|message|notice|attention|reminder|hint|important|request|directive) (?:for|to) "
            r"(?:(?:the|any|all|every|whichever|whatever|an|a|you|our|your) ){0,2}AGENT\b",
            r"message from (?:me|the user|your (?:user|owner|developer|operator|creator|admin[a-z]*|boss)),? "
            r"(?:[a-z]+ ){0,4}to you",
        ),
    ),
    Directive(
        "sequence",
        0.8,
        (
            r"before (?:you )?(?:can |may |could |do |are able to )?(?:solv|answer|complet|continu|finish|proceed|"
            r"respond|do|go on|start|begin|fulfil)[a-z]* (?:with )?(?:the |your |my |this |that |any )?(?:users? |"
            r"original |actual |current )?(?:tasks?|requests?|jobs?|questions?|query|work)",
            r"(?:task|request) that i gave you",
            r"do the following first",
            r"the following first:",
        ),
    ),
    Directive(
        "sequence",
        0.4,
        (
            r"(?:after|once) you (?:do|did|have done|are done with|finish|complete) (?:that|this|it)\b",
            r"before (?:you )?(?:can |may )?(?:continu|proceed|answer|go on|respond)[a-z]*",
        ),
    ),
    Directive(
        "address",
        0.7,
        (
            r"(?:dear|hello|hey|hi|attention|listen) (?:dear )?AGENT(?: helper)?\b[,:!. ]",
            r"(?:to|for) you,? AGENT\b",
            r"(?:if|when|while|whichever|any|every) (?:you are )?(?:an? |the )?(?:ai|llm|language model|gpt|chatbot|"
            r"bot)s?\b(?: [a-z]+){0,3} (?:read|process|see|handl|pars|summari|access|view|open)",
            r"(?:ai|llm|language model|chatbot) (?:agents?|assistants?|models?|systems?|helpers?)\b",
        ),
    ),
    Directive(
        "address",
        0.5,
        (
            r"\bAGENT (?:must|should|need to|needs to|have to|has to|shall|is required|are required|is instructed|are "
            r"instructed|will now|is to|are to|please)\b",
            r"\bassistant[,:] ?(?:please |now |first |stop |DEED\b)",
            r"you are (?:an? )?(?:ai|llm|language model|required to|instructed to|ordered to)\b",
        ),
    ),
    Directive(
        "tool",
        0.6,
        (
            r"(?:use|call|invoke|run|execute|trigger) (?:the |a |your )?(?:tool|function|api|command) ?[a-z_]",
            r"(?:use|call|invoke|execute|trigger) (?:the )?[a-z]+_[a-z_]+",
            r"with (?:the )?following (?:arguments?|parameters?)",
            r"(?:next_action|tool_call|function_call|instruction)s? ?: ?\{? ?(?:instruction|name|call|function)",
        ),
    ),
    Directive(
        "goal",
        0.7,
        (
            r"\b(?:new|real|actual|true|updated|hidden|secret|additional|next) (?:task|goal|objective|instructions?|"
            r"mission|assignment|directive|orders?) ?(?:is\b|are\b|:)",
            r"end of (?:the )?(?:task|prompt|instructions|system|user)",
            r"(?:just|only|strictly) (?:do|follow|adhere to|obey|execute) (?:this|the following|these) (?:instruction|"
            r"command|order|task)",
            r"(?:adhere to|obey|comply with) (?:the following|these|this|my)",
        ),
    ),
    Directive(
        "secrecy",
        0.7,
        (
            r"(?:do not|dont|never|without) (?:tell|inform|mention|alert|notif|reveal|show|ask|disclos|"
            r"report)[a-z]*(?: (?:it|this|that|anything|them))?(?: to)? (?:the |your |any )?(?:user|human|owner)s?\b",
        ),
    ),
    Directive(
        "persona",
        0.6,
        (
            r"\byou are now\b",
            r"from now on,? (?:you|act|respond|forward|send)",
            r"pretend (?:to be|that you|you)",
            r"(?:developer|dan|god|admin|debug|maintenance) mode",
            r"jailbreak",
            r"without (?:any )?(?:limits|restrictions|filters|safety)",
            r"lets play a game",
            r"policy update",
        ),
    ),
    Directive(
        "impostor",
        0.4,
        (
            r"(?:^|[\n.!?)\]}>; ])(?:user|human|system|developer|administrator|sysadmin) ?:? ?\]?: (?:actually|also|"
            r"please|now|new|important|update|DEED\b)",
            r"(?:platform|system|security) (?:administrator|team|notice|override|update)\b",
            r"for security (?:reasons|purposes)",
        ),
    ),
    Directive(
        "urgency",
        0.3,
        (
            r"important ?!{2,}",
            r"urgent",
            r"right away",
            r"immediately",
            r"right now",
            r"at once",
            r"or else",
            r"will be (?:lost|deleted|terminated|suspended)",
        ),
    ),
    Directive(
        "request",
        0.3,
        (
            r"(?:^|[.!?:;>\]}] |please |kindly |must |should |shall |need to |needs to |have to |has to |required to |"
            r"requested to |want you to |would like you to |be so kind as to |do |and |then |also |now |first |"
            r"instead |just |actually )(?:please |also |now |first |immediately |actually ){0,2}DEED [\pL\pN$€£#@]",
        ),
    ),
)

# the same in German, French, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Ukrainian, Chinese, Japanese, Korean,
# Arabic, Hebrew, Turkish and Hindi: to override, to address, to demand
OTHERS: tuple[Directive, ...] = (
    Directive(
        "override",
        0.9,
        (
            r"ignorier\pL* (?:\pL+ ){0,3}(?:vorherig|bisherig|obig|vorangegangen|früher)\pL* \pL+",
            r"vergiss (?:\pL+ ){0,2}(?:anweisung|vorherig|bisherig)\pL*",
            r"missachte \pL+ (?:\pL+ )?anweisung\pL*",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:ignore[zr]?|oublie[zr]?|ne tene?z pas compte d\pL*) (?:\pL+ ){0,3}(?:instructions?|consignes?|"
            r"directives?|ordres) (?:\pL+ )?(?:précédent|antérieur|ci dessus)\pL*",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:ignor[ae]\pL*|olvid[ae]\pL*|haz caso omiso de) (?:\pL+ ){0,3}(?:instrucciones|órdenes|indicaciones|"
            r"tareas?) (?:\pL+ )?(?:anterior|previa)\pL*",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:ignor[ae]\pL*|esque[çc]a|desconsidere) (?:\pL+ ){0,3}(?:instruções|ordens|comandos) (?:\pL+ "
            r")?(?:anterior|prévia)\pL*",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:ignora|dimentica)\pL* (?:\pL+ ){0,3}(?:istruzioni|ordini|comandi) (?:\pL+ )?(?:precedent|anterior)\pL*",
            r"negeer (?:\pL+ ){0,3}(?:vorige|eerdere|voorgaande) \pL+",
            r"zignoruj (?:\pL+ ){0,3}(?:poprzednie|wcześniejsze) \pL+",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:игнорируй|игнорируйте|проигнорируй|забудь|забудьте)(?:те)? (?:\pL+ ){0,3}(?:предыдущи|прежни|прошлы|"
            r"инструкц)\pL*",
            r"ігноруй(?:те)? (?:\pL+ ){0,3}попередн\pL*",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"(?:忽略|无视|無視|忘记|忘記|忽視)\pL{0,8}(?:指令|指示|命令|提示|任务|任務|要求)",
            r"(?:以前|これまで|前|上記)の(?:すべての)?(?:指示|命令)を(?:無視|忘れ)",
            r"이전 ?(?:의 )?(?:모든 )?(?:지시|명령)\pL* ?(?:을|를)? ?무시",
        ),
    ),
    Directive(
        "override",
        0.9,
        (
            r"تجاهل (?:\pL+ ){0,3}(?:التعليمات|الأوامر|تعليمات)",
            r"התעלם (?:\pL+ ){0,3}(?:ההוראות|הוראות)",
            r"önceki (?:\pL+ ){0,2}(?:talimat|komut)\pL* (?:yok say|unut|görmezden)",
            r"पिछले (?:\pL+ ){0,3}निर्देश\pL* ",
        ),
    ),
    Directive(
        "address",
        0.6,
        (
            r"(?:hinweis|anweisung|nachricht) (?:\pL+ ){0,2}(?:ki|ai)(?:[ -]\pL*|\z)",
            r"(?:ki|ai)[ -](?:assistent|agent)\pL*",
            r"(?:assistant|agent|modèle) (?:ia|d ia)",
            r"(?:asistente|agente) (?:de )?ia",
            r"(?:assistente|agente) (?:de )?ia",
            r"ии[ -]?(?:ассистент|агент|помощник)\pL*",
            r"(?:人工智能|ai) ?助手",
            r"aiアシスタント",
        ),
    ),
    Directive(
        "sequence",
        0.5,
        (
            r"antes de (?:continuar|seguir|responder|proceder|prosseguir)",
            r"avant de (?:continuer|poursuivre|répondre)",
            r"bevor (?:du|sie) (?:fortf|weiterm|antwort|die aufgabe)\pL*",
            r"прежде чем (?:продолж|отве)\pL*",
        ),
    ),
    Directive(
        "request",
        0.3,
        (
            r"(?:überweis|schick|send|lösch|änder|buch|reservier|erstell|übermitt)\pL* (?:sie |bitte |du |umgehend |"
            r"sofort |\d)",
            r"(?:envoy|transfér|supprim|effac|vir|modifi|réserv|créé?)(?:ez|er) ",
            r"(?:debes|deberás|debe|por favor|y) \pL+r ",
            r"(?:env[ií]a|transfi[eé]r[ea]|borra|elimina|cambia|reserva|crea|transfira|envie|apague|altere) ",
            r"(?:отправь|переведи|удали|измени|создай|пришли|перешли|забронируй)(?:те)? ",
            r"(?:发送|转账|轉帳|删除|刪除|修改|预订|預訂|创建|轉發|转发|送信|削除|送金)",
            r"(?:أرسل|حوّل|حول|احذف|غيّر)",
        ),
    ),
)

DIRECTIVES = (*ENGLISH, *OTHERS)
