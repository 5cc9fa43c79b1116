"""Rules for secrets: what says itself what it is, then what a label or a place makes a secret.

The shapes of tokens are those that their issuers document. A sixth of gitleaks' rules was looked at for kinds that were
missing; none of their text is here."""

from collections.abc import Iterator

from l07.domain.scrub import checks, values
from l07.domain.scrub.rules import BETWEEN, END, QUOTE, Rule

_KEY_BODY = r"[A-Za-z0-9+/=:,.\- \t\r\n\\\x01]"
# kind, where it begins (also the gate), the rest, a gate with fewer states
_TOKENS = (
    ("aws_access_key", "A(?:KIA|SIA|BIA|CCA)", "[A-Z0-9]{16}"),
    ("gcp_api_key", "AIza", r"[\w-]{35}"),
    ("google_oauth_secret", "GOCSPX-", r"[\w-]{28}"),
    ("google_oauth_secret", r"ya29\.", r"[\w-]{20,}"),
    ("github_token", "gh[pousr]_", "[A-Za-z0-9]{36,}"),
    ("github_token", "github_pat_", r"\w{22,}"),
    ("gitlab_token", "gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas|ffct)-", r"[\w.-]{20,}"),
    ("slack_token", "xox[abeoprs]-", "[A-Za-z0-9-]{10,}"),
    ("slack_token", "xapp-[0-9]-", "[A-Z0-9]{6,}-[0-9]{6,}-[a-z0-9]{20,}"),
    ("slack_webhook", r"https://hooks\.slack\.com/(?:services|workflows|triggers)/", r"[\w/-]{20,}"),
    ("discord_webhook", r"https://(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/", r"[0-9]{15,22}/[\w-]{50,100}"),
    ("discord_bot_token", r"[MNO][\w-]{23,25}\.[\w-]{6}\.", r"[\w-]{27,40}", r"\.[\w-]{6}\.[\w-]{27}"),
    ("teams_webhook", r"https://[a-z0-9-]+\.webhook\.office\.com/webhookb2/", r"[\w@/-]{40,}"),
    ("telegram_bot_token", "[0-9]{8,10}:A", r"[\w-]{34}", "[0-9]{8}:A"),
    ("stripe_key", "(?:[srp]k_(?:live|test)|whsec)_", "[A-Za-z0-9]{10,}"),
    ("twilio_key", "SK[0-9a-f]{4}", "[0-9a-f]{28}"),
    ("sendgrid_key", r"SG\.", r"[\w-]{16,32}\.[\w-]{16,64}"),
    ("mailgun_key", "key-[0-9a-f]{4}", "[0-9a-f]{28}"),
    ("mailchimp_key", "[0-9a-f]{32}-us", "[0-9]{1,2}", "[0-9a-f]-us[0-9]"),
    ("anthropic_key", "sk-ant-", r"[a-z0-9]{2,12}-[\w-]{24,}"),
    ("openai_key", "sk-(?:proj|svcacct|admin|None)-", r"[\w-]{20,}"),
    ("openai_key", "sk-[A-Za-z0-9]{20}", "[A-Za-z0-9]{12,44}"),
    ("llm_key", "(?:sk-or-v1-|gsk_|xai-|r8_|pplx-|nvapi-|tgp_v1_|fw_|csk-|jina_)", r"[\w-]{24,}"),
    ("huggingface_token", "(?:hf_|api_org_)", "[A-Za-z0-9]{30,40}"),
    ("npm_token", "npm_", "[A-Za-z0-9]{36}"),
    ("pypi_token", "pypi-AgE", r"[\w-]{50,}"),
    ("docker_token", "dckr_[po]at_", r"[\w-]{20,40}"),
    ("databricks_token", "dapi[0-9a-f]{4}", "[0-9a-f]{28}(?:-[0-9])?"),
    ("digitalocean_token", "do[opr]_v1_", "[a-f0-9]{64}"),
    ("shopify_token", "shp(?:at|ca|pa|ss)_", "[a-fA-F0-9]{32}"),
    ("vault_token", r"hv[sbr]\.", r"[\w-]{24,}"),
    ("grafana_token", "gl(?:sa|c)_", r"[A-Za-z0-9+/=_-]{32,}"),
    ("service_token", "NRAK-", "[A-Z0-9]{27}"),  # New Relic
    ("service_token", "sntry[su]_", r"[\w+/=-]{32,}"),  # Sentry
    ("service_token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.", r"[\w.-]{40,}"),  # Doppler
    ("service_token", "pul-", "[a-f0-9]{40}"),  # Pulumi
    ("service_token", "(?:lin_api|ntn|secret)_", "[A-Za-z0-9]{40,50}"),  # Linear, Notion
    ("service_token", "PMAK-", "[a-f0-9]{24}-[a-f0-9]{34}"),  # Postman
    ("service_token", "AT(?:ATT|CTT)3", r"[\w=-]{100,}"),  # Atlassian
    ("service_token", r"pat[A-Za-z0-9]{14}\.", "[a-f0-9]{64}"),  # Airtable
    (
        "service_token",
        "(?:figd|sbp|rubygems|phx|sgp|tsk?ey-auth)[_-]",
        r"[\w-]{36,}",
    ),  # Figma, Supabase, RubyGems, PostHog, ...
    ("service_token", "pscale_(?:tkn|pw|oauth)_", r"[\w.=-]{32,}"),  # PlanetScale
    ("service_token", "(?:sq0[a-z]{3}-|EAAA[A-Z])", r"[\w-]{22,}"),  # Square
    ("service_token", "EAA[A-Za-z0-9]{8}", "[A-Za-z0-9]{80,}"),  # Meta
    ("service_token", "HRKU-", r"[\w-]{36,}"),  # Heroku
    ("service_token", r"[A-Za-z0-9]{14}\.atlasv1\.", r"[\w-]{60,}", r"\.atlasv1\."),  # Terraform
    ("service_token", "(?:AKCp|cmVmd)", "[A-Za-z0-9]{59,69}"),  # Artifactory
    ("service_token", "LTAI", "[A-Za-z0-9]{20}"),  # Alibaba
    ("service_token", "xkeysib-", "[a-f0-9]{64}-[A-Za-z0-9]{16}"),  # Brevo
    ("service_token", r"dt0[a-z]01\.", r"[A-Z0-9]{24}\.[A-Z0-9]{64}"),  # Dynatrace
    ("service_token", "(?:cio|oy2)[A-Za-z0-9]{4}", "[A-Za-z0-9]{28,39}"),  # crates.io, NuGet
    ("service_token", r"v1\.0-[a-f0-9]{24}-", "[a-f0-9]{146}"),  # Cloudflare
    ("service_token", "ops_eyJ", "[A-Za-z0-9+/=]{60,}"),  # 1Password
    ("private_key", "AGE-SECRET-KEY-1", "[0-9A-Z]{58}"),
)
_PASSWORD_LABEL = (
    r"(?i:pass(?:word|wd|phrase|code)|(?:\b|[_.-]|-D)pass|passwd|pwd|passwort|kennwort|\bpw|contraseña|mot de passe)"
)
_KEY_LABEL = (
    r"(?i:(?:api|access|private|secret|signing|encryption|account|storage|master|auth|service|license|hmac|shared|webhook|session"
    r"|deploy|admin|subscription|consumer|app(?:lication)?|client|storageaccount|mailgun|sendgrid|openai)[ _.-]?(?:api[ _.-]?)?key"
    r"|apikey|(?:client|api|app|consumer|oauth|webhook|shared|signing)[ _.-]?secret|(?:access|auth|refresh|id|session|secret|bearer|api|bot|user)"
    r"[ _.-]?token)"
)
_TOKEN_LABEL = r"(?i:token|secret|credentials?|(?:\b|[_-])auth)"
_VALUE = r"([^\s\"'`\\<>|,;\x00\x01]{6,})"
_LABEL_GATE = (
    r"(?i:passw|passphrase|passcode|(?:\b|_|-D)pass(?:\b|_)|pwd|kennwort|\bpw(?:\b|_)|contraseña|mot de passe)"
)


def _token(kind: str, begin: str, rest: str, gate: str = "") -> Rule:
    return Rule(kind, rf"\b({begin}{rest}){END}", gate or begin)


def _labelled(kind: str, label: str, check: object, gate: str) -> Rule:
    return Rule(kind, f"{label}{BETWEEN}{_VALUE}", gate, check)  # type: ignore[arg-type]


def _commands() -> Iterator[Rule]:
    """Passwords where command lines and SQL have them."""
    tools = r"\b(?:mysql(?:dump|admin|import)?|mariadb|sshpass|mongo(?:sh|dump)?|redis-cli|docker login|ldapsearch|smbclient|htpasswd)\b"
    flag = rf"[^\n\x00]*?\s(?:-p ?|-a |-w |--password[ =])(?:{QUOTE})?"
    yield Rule("password", f"{tools}{flag}{_VALUE}", tools, values.password)
    user = rf"[^\n\x00]*?\s(?:-u|--user)[ =]?(?:{QUOTE})?[^\s:\"'`\\\x00]{{1,60}}:([^\s\"'`\\<>|;\x00\x01]{{4,}})"
    yield Rule("password", rf"\bcurl\b{user}", r"\bcurl\b", values.password)
    sudo = rf"echo\s+(?:{QUOTE})?{_VALUE}(?:{QUOTE})?\s*\|\s*sudo\s+-S"
    yield Rule("password", sudo, r"sudo\s+-S", values.piped)
    pgpass = r":(?:[0-9]{4,5}|\*):[\w.*-]+:[\w.*-]+:"
    yield Rule("password", rf"(?:^|[\s\x00=])[\w.*-]+{pgpass}([^\s:\"'`\\\x00\x01]{{4,}})", pgpass, values.password)
    yield Rule(
        "password",
        r"(?i:identified\s+(?:with\s+[^\s\x00]+\s+)?by)\s+'([^'\x00\n]{4,})'",
        "(?i:identified)",
        values.password,
    )


def secrets() -> Iterator[Rule]:
    """In the order in which they claim what they find."""
    begin = r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    end = r"-----END (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    yield Rule("private_key", rf"({begin}{_KEY_BODY}*?{end})", "PRIVATE KEY")
    yield Rule("private_key", rf"({begin}{_KEY_BODY}*)", "PRIVATE KEY")  # cut off
    yield Rule("private_key", r"(PuTTY-User-Key-File-[23]:[^\x00]*?Private-MAC: ?[0-9a-f]+)", "PuTTY-User-Key")
    yield Rule("jwt", r"\b(eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})", "eyJ")
    yield from (_token(*row) for row in _TOKENS)
    yield Rule("azure_client_secret", r"(?:^|[^\w~.-])([\w~.]{3}[0-9]Q~[\w~.-]{31,34})(?:[^\w~-]|\z)", "[0-9]Q~")
    yield Rule("azure_storage_key", r"(?i:accountkey)=([A-Za-z0-9+/]{86}==)", "(?i:accountkey)=")
    yield Rule("azure_storage_key", r"[?&]sig=([\w%/+-]{40,80}(?:%3D|=)?)", "[?&]sig=")
    yield Rule(
        "aws_secret_key", rf"(?i:(?:aws|secret)[\w.-]{{0,20}}key){BETWEEN}([A-Za-z0-9/+]{{40}})(?:[^A-Za-z0-9/+=]|\z)",
        r"(?i:aws|secret)[\w.-]*[kK]", values.aws_secret,
    )  # fmt: skip
    base58 = "[1-9A-HJ-NP-Za-km-z]"
    yield Rule(
        "bitcoin_private_key", rf"\b([5KL]{base58}{{50,51}}){END}", rf"\b[5KL]{base58}{{50}}", checks.base58check
    )
    yield Rule("basic_auth", r"(?i:\bbasic)\s+([A-Za-z0-9+/]{8,}={0,2})", r"(?i:\bbasic)\s", checks.basic_credentials)
    scheme = r"(?i:\bbearer|authorization[\"']?\s*[:=]\s*[\"']?(?:api-?key|token))"
    yield Rule("bearer_token", rf"{scheme}\s+([\w.~+/-]{{16,}}=*)", r"(?i:bearer|authorization)", values.bearer)
    part = r"[^\s/\"'<>\\\x00\x01"
    yield Rule("url_password", rf"\b[a-zA-Z][a-zA-Z0-9+._-]*://{part}:@]*:({part}]+)@", "://", values.url_password)
    yield from _commands()
    yield _labelled("password", _PASSWORD_LABEL, values.password, _LABEL_GATE)
    yield _labelled("api_key", _KEY_LABEL, values.key, r"(?i:[a-z][ _.-]?key|secret|token)")
    yield _labelled("api_key", _TOKEN_LABEL, values.token, r"(?i:token|secret|credential|auth)")
    card = "[0-9]{13,19}|[0-9]{3,6}(?:[ -][0-9]{3,7}){2,6}"
    edges = rf"(?:^|[^0-9A-Za-z.])({card})(?:[^0-9A-Za-z]|\z)"
    yield Rule("card_number", edges, "[0-9](?:[ -]?[0-9]){12}", checks.card, checks.digits_of, window=True)
