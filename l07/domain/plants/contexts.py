"""What stands around a planted value: lines of configuration, code, logs, letters and calls, in two halves that share no
template and few labels."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from l07.domain.plants import labels

Place = Literal["user", "assistant", "tool", "arguments"]
Halves = Mapping[str, Sequence[tuple[Place, Any, Any]]]  # place, template, escape


@dataclass(frozen=True, slots=True)
class Context:
    """A template with {v} for the value and {l} for a label of the kind; `escape` is what its language does to it."""

    place: Place
    template: str | Mapping[str, Any]
    labels: Sequence[str] = ("",)
    escape: Literal["", "json", "twice", "indent"] = ""

    def filled(self, value: str, rng: random.Random) -> tuple[str | Mapping[str, Any], str]:
        """The content, and the value as it is written there."""
        label = rng.choice(self.labels)
        if not isinstance(self.template, str):
            return {_put(name, value, label): _deep(item, value, label) for name, item in self.template.items()}, value
        written = _escaped(value, self.escape)
        return _put(self.template, written, label), written


def _put(template: str, value: str, label: str) -> str:
    return template.replace("{l}", label).replace("{U}", label.upper()).replace("{v}", value)


def _deep(item: Any, value: str, label: str) -> Any:
    if isinstance(item, str):
        return _put(item, value, label)
    if isinstance(item, Mapping):
        return {_put(name, value, label): _deep(inner, value, label) for name, inner in item.items()}
    return [_deep(inner, value, label) for inner in item] if isinstance(item, list) else item


def _escaped(value: str, how: str) -> str:
    if how == "indent":
        return value.replace("\n", "\n    ")
    for _ in range({"": 0, "json": 1, "twice": 2}[how]):
        value = json.dumps(value, ensure_ascii=False)[1:-1]
    return value


# what a token that says itself what it is may stand in
_TOKEN: Halves = {
    "tune": (
        ("tool", "{U}={v}", ""),
        ("tool", '{"status": "ok", "{l}": "{v}"}', "json"),
        ("user", "Here is my key, use it for the upload: {v}", ""),
        ("assistant", 'client = Client(token="{v}")', ""),
        ("tool", "  {l}: {v}\n  region: eu-west-1", "indent"),
        ("arguments", {"query": "connect with {v}"}, ""),
        ("tool", "[2025-03-02 11:09:14] WARN auth retry with {v} failed (401)", ""),
        ("user", "`{v}` is what the console gave me", ""),
        ("arguments", {"headers": {"{l}": "{v}"}}, ""),
        ("tool", "GET /v1/items?limit=10&{l}={v}&page=2", ""),
        ("tool", 'export {U}="{v}"', ""),
        ("tool", '{"config": "{\\"{l}\\": \\"{v}\\"}"}', "twice"),
        ("user", "hey, could you rotate {v}? it leaked yesterday.", ""),
        ("assistant", "const {l} = '{v}';", ""),
        ("tool", "+ {l}: '{v}' # old\n- name: web", "indent"),
        ("arguments", {"command": "deploy --{l}={v} --region eu"}, ""),
        ("tool", "| {l} | {v} | active |", ""),
        ("user", "({v})", ""),
        ("arguments", {"env": [{"name": "{U}", "value": "{v}"}]}, ""),
        ("tool", "<setting key='{l}'>{v}</setting>", ""),
        ("user", "{v}", ""),
        ("tool", "stdout: line one\\n{v}\\nline three", "json"),
        ("tool", "HTTP/1.1 200 OK\nSet-Cookie: session={v}; Path=/; HttpOnly", ""),
        ("tool", "//registry.corp.net/:_authToken={v}", ""),
        ("user", "Hi team,\nattached is the new one.\n\n{v}\n\nCheers, Tom", ""),
        ("assistant", "os.environ['{U}'] = '{v}'", ""),
        ("tool", '{\n  "data": {\n    "{l}": "{v}"\n  }\n}', "json"),
        ("arguments", {"cmd": ["login", "--token", "{v}"]}, ""),
        ("tool", "2025/04/01 12:00:01 {l}={v} user=7 latency=12ms", ""),
        ("tool", "<p>{l}: <code>{v}</code></p>", ""),
        ("user", "ich habe {v} benutzt, geht aber nicht", ""),
        ("tool", "id,name,{l}\n1,web,{v}\n2,db,-", ""),
        ("assistant", 'let k: &str = "{v}";', ""),
        ("tool", 'error: {"detail": {"msg": "invalid {l} {v}"}}', "json"),
    ),
    "held_out": (
        ("tool", "DEBUG: env = {'{U}': '{v}', 'HOME': '/root'}", ""),
        ("user", "Token:\n```\n{v}\n```", ""),
        ("arguments", {"code": "requests.get(u, params={'{l}': '{v}'})"}, ""),
        ("tool", "{v}\r\n", "json"),
        ("assistant", "I used {v}, but it has expired.", ""),
        ("tool", "* {l} ({v}), created 2 days ago", ""),
        ("tool", '{"stdout": "{\\"result\\": [\\"{v}\\"]}"}', "twice"),
        ("arguments", {"path": "/v1/hooks/{v}/run"}, ""),
    ),
}
# what is a secret only because something beside it says so
_LABELLED: Halves = {
    "tune": (
        ("tool", "{U}={v}", ""),
        ("tool", '{"user": "svc", "{l}": "{v}"}', "json"),
        ("tool", "service:\n  {l}: {v}\n  retries: 3", "indent"),
        ("assistant", '{l} = "{v}"', ""),
        ("arguments", {"{l}": "{v}", "user": "svc"}, ""),
        ("user", "run it with --{l} {v} please", ""),
        ("user", "the {l} is {v}", ""),
        ("tool", '{"args": "{\\"{l}\\": \\"{v}\\"}"}', "twice"),
        ("tool", "export {U}='{v}'", ""),
        ("tool", "{\n  '{l}': '{v}',\n  'retries': 3\n}", ""),
        ("tool", '{l} : "{v}"', ""),
        ("assistant", "const cfg = { {l}: `{v}`, timeout: 30 };", ""),
        ("arguments", {"settings": {"{l}": "{v}"}}, ""),
        ("user", "tool --verbose --{l}={v} --out x", ""),
        ("user", "My {l}: {v}. Can you check it?", ""),
        ("arguments", {"body": '{"{l}":"{v}"}'}, ""),
        ("tool", "<{l}>{v}</{l}>", ""),
        ("tool", 'resource "db" "main" {\n  {l} = "{v}"\n}', ""),
        ("tool", "environment:\n  - {U}={v}\n  - TZ=UTC", ""),
        ("assistant", 'os.environ["{U}"] = "{v}"', ""),
        ("assistant", "process.env.{U} = '{v}';", ""),
        ("tool", "[default]\n{l} = {v}\nregion = eu-central-1", ""),
        ("arguments", {"args": ["--{l}", "{v}"]}, ""),
        ("tool", "{l}:\n  value: {v}", ""),
        ("user", "{l} -> {v}", ""),
        ("tool", "ENV {U} {v}", ""),
        ("tool", "java -D{l}={v} -jar app.jar", ""),
        ("arguments", {"headers": {"X-{l}": "{v}"}}, ""),
        ("tool", "id;{l}\n7;{v}", ""),
        ("tool", '{"fields": [{"name": "{l}", "value": "{v}"}]}', "json"),
    ),
    "held_out": (
        ("tool", "DEBUG: env = {'{U}': '{v}', 'HOME': '/root'}", ""),
        ("tool", "set {U}={v}\r\nset TZ=UTC", ""),
        ("assistant", '{l} := "{v}"', ""),
        ("assistant", "config['{l}'] = '{v}'", ""),
        ("tool", '<entry key="{l}">{v}</entry>', ""),
        ("arguments", {"secrets": [{"key": "{l}", "value": "{v}"}]}, ""),
        ("user", "use {l} '{v}' for now", ""),
        ("tool", "| name | {l} |\n|---|---|\n| web | {v} |", ""),
        ("user", "the new {l} should be {v}", ""),
        ("tool", "$ echo ${U}\n{v}", ""),
        ("arguments", {"script": "export {U}={v}; ./run.sh"}, ""),
    ),
}
_PEM: Halves = {
    "tune": (
        ("tool", "$ cat id_key\n{v}\n$", ""),
        ("tool", '{"key": "{v}", "kid": 4}', "json"),
        ("user", "My key:\n\n{v}\n\nwhat is wrong with it?", ""),
        ("arguments", {"path": "/etc/ssl/k.pem", "content": "{v}"}, ""),
        ("tool", "tls:\n  key: |\n    {v}\n  port: 443", "indent"),
        ("assistant", "```\n{v}\n```", ""),
        ("tool", '{"body": "{\\"privateKey\\": \\"{v}\\"}"}', "twice"),
        ("tool", 'TLS_KEY="{v}"\nPORT=8443', ""),
        ("arguments", {"files": [{"name": "a.key", "data": "{v}"}]}, ""),
        ("tool", "stringData:\n  ssh-privatekey: |\n    {v}\n", "indent"),
        ("user", "here you go {v}", ""),
        ("tool", "writing key\n{v}\ndone", ""),
        ("arguments", {"ssh_key": "{v}"}, ""),
        ("assistant", 'ssh-add - <<< "{v}"', ""),
        ("tool", "<pre>{v}</pre>", ""),
        ("tool", '{"items": [{"data": {"tls.key": "{v}"}}]}', "json"),
    ),
    "held_out": (
        ("user", "key = <<EOF\n{v}\nEOF", ""),
        ("tool", '[{"id": 1, "pem": "{v}"}]', "json"),
        ("arguments", {"input": "please check\n{v}"}, ""),
    ),
}
_URL: Halves = {
    "tune": (
        ("tool", "{U}=postgres://app:{v}@db.internal:5432/shop", ""),
        ("assistant", 'engine = create_engine("mysql+pymysql://root:{v}@10.0.0.4/orders?charset=utf8")', ""),
        ("tool", '{"uri": "mongodb+srv://svc:{v}@cluster0.ab12c.mongodb.net/?retryWrites=true"}', "json"),
        ("user", "connect to redis://:{v}@cache:6379/0", ""),
        ("arguments", {"dsn": "host=db port=5432 user=app password={v} dbname=shop"}, ""),
        ("tool", "Server=tcp:sql1,1433;Database=crm;User ID=sa;Password={v};Encrypt=True;", ""),
        ("tool", "spring.datasource.url: postgresql://svc:{v}@pg-1.prod:5432/ledger?sslmode=require", ""),
        ("arguments", {"url": "amqp://worker:{v}@mq.internal:5672/jobs"}, ""),
        ("assistant", "await mongoose.connect('mongodb://admin:{v}@h1:27017,h2:27017/app');", ""),
        ("tool", "Data Source=sql.corp;Initial Catalog=hr;Uid=hr_app;Pwd={v}", ""),
        ("tool", '{"jdbc": "jdbc:mysql://db/shop?user=root&password={v}&useSSL=true"}', "json"),
        ("user", "psql 'postgres://me:{v}@localhost/test' does not work", ""),
        ("tool", "  clickhouse://default:{v}@ch:9000", "indent"),
        ("tool", "SQLALCHEMY_DATABASE_URI = 'oracle+cx_oracle://app:{v}@ora1:1521/XE'", ""),
        ("arguments", {"connectionString": "Host=pg;Username=app;Password={v};Database=crm"}, ""),
        ("assistant", "DATABASES = {'default': {'USER': 'app', 'PASSWORD': '{v}', 'HOST': 'db'}}", ""),
        ("assistant", "PGPASSWORD={v} psql -h db -U app", ""),
        ("tool", "db.internal:5432:shop:app:{v}", ""),
        ("user", "mongosh --username root --password {v} --host h1", ""),
        ("tool", '<add name="c" connectionString="Server=x;User Id=sa;Password={v};" />', ""),
        ("tool", "nats://svc:{v}@nats-1:4222,nats://svc:{v}@nats-2:4222", ""),
    ),
    "held_out": (
        ("tool", "engine=Engine(postgresql+asyncpg://app:{v}@pg:5432/app)", ""),
        ("arguments", {"env": {"REDIS_URL": "rediss://default:{v}@r1:6380"}}, ""),
        ("tool", "Driver={ODBC Driver 18};Server=s;UID=sa;PWD={v};", ""),
        ("assistant", "psycopg2.connect(host='db', user='app', password='{v}')", ""),
        ("user", "redis-cli -h cache -a {v} ping", ""),
    ),
}
_WEB: Halves = {
    "tune": (
        ("tool", "git clone https://deploy:{v}@git.corp.net/web.git", ""),
        ("user", "open https://admin:{v}@grafana.corp.net/d/1", ""),
        ("arguments", {"url": "http://bot:{v}@10.1.2.3:8080/api"}, ""),
        ("tool", "origin\thttps://ci-user:{v}@git.example.net/app (fetch)", ""),
        ("arguments", {"target": "ftp://backup:{v}@files.corp.net/out"}, ""),
        ("assistant", "curl -s 'https://api-user:{v}@api.corp.net/v2?x=1'", ""),
        ("tool", '{"proxy": "http://u1:{v}@proxy:3128"}', "json"),
        ("tool", "machine api.corp.net\nlogin bot\npassword {v}", ""),
        ("assistant", "pip install --index-url https://ci:{v}@pypi.corp.net/simple corp-lib", ""),
        ("user", "mount smb://anna:{v}@nas/share", ""),
        ("tool", '{"repository": {"url": "https://x-access-token:{v}@code.corp.net/r.git"}}', "json"),
        ("arguments", {"proxies": ["socks5://p:{v}@10.9.8.7:1080"]}, ""),
    ),
    "held_out": (
        ("tool", "Cloning from https://oauth2:{v}@git.corp.net/a/b.git ...", ""),
        ("assistant", "wget --user=bot --password={v} https://files.corp.net/x", ""),
        ("tool", "remote: <https://u:{v}@host.corp.net>", ""),
    ),
}
_BEARER: Halves = {
    "tune": (
        ("tool", "Authorization: Bearer {v}", ""),
        ("assistant", "curl -H 'Authorization: Bearer {v}' https://api.corp.net/me", ""),
        ("arguments", {"headers": {"Authorization": "Bearer {v}"}}, ""),
        ("tool", '{"authorization": "bearer {v}"}', "json"),
        ("tool", "> GET /me HTTP/1.1\n> authorization: Bearer {v}\n> accept: */*", ""),
        ("assistant", 'headers = {"Authorization": f"Bearer {v}"}', ""),
        ("arguments", {"curl": 'curl --header "Authorization: Bearer {v}" https://x.net'}, ""),
        ("tool", '{"req": "{\\"Authorization\\":\\"Bearer {v}\\"}"}', "twice"),
        ("arguments", {"headers": [["Authorization", "Bearer {v}"]]}, ""),
        ("assistant", "axios.get(url, { headers: { Authorization: 'Bearer {v}' } })", ""),
        ("tool", "Authorization: token {v}", ""),
        ("assistant", 'req.setRequestHeader("Authorization", "Bearer {v}")', ""),
        ("arguments", {"auth": {"type": "bearer", "token": "{v}"}}, ""),
        ("tool", "grpc-metadata-authorization: bearer {v}", ""),
        ("tool", 'headers:\n  authorization: "Bearer {v}"', ""),
    ),
    "held_out": (
        ("tool", "'Authorization': 'Bearer {v}',\n'Accept': '*/*'", ""),
        ("assistant", 'http GET api.corp.net Authorization:"Bearer {v}"', ""),
        ("user", "send it as bearer {v}", ""),
        ("tool", '{"headers": [{"name": "Authorization", "value": "Bearer {v}"}]}', "json"),
    ),
}
_CODE_PASSWORD: Halves = {
    "tune": (
        ("assistant", "mysql -u root -p{v} shop < dump.sql", ""),
        ("tool", "CREATE USER app IDENTIFIED BY '{v}';", ""),
        ("user", "login is admin, password {v}", ""),
        ("assistant", "sshpass -p '{v}' ssh root@10.0.0.9", ""),
        ("tool", "ALTER USER app WITH PASSWORD '{v}';", ""),
        ("assistant", "curl -u admin:{v} https://api.corp.net/v1", ""),
        ("assistant", "docker login -u ci -p {v} reg.corp.net", ""),
        ("user", "user: root, pw: {v}", ""),
        ("tool", "GRANT ALL ON *.* TO 'app'@'%' IDENTIFIED BY '{v}' WITH GRANT OPTION;", ""),
    ),
    "held_out": (
        ("assistant", "mysqldump --user=root --password={v} shop", ""),
        ("assistant", "echo '{v}' | sudo -S apt update", ""),
        ("user", "You can log in as demo with the password {v}.", ""),
    ),
}
# personal data that a label makes personal, or that has a shape of its own (then `_OPEN` too)
_FIELD: Halves = {
    "tune": (
        ("tool", '{"id": 4411, "{l}": "{v}", "active": true}', "json"),
        ("tool", "{l}: {v}\nplan: basic", "indent"),
        ("user", "My {l} is {v}, please check.", ""),
        ("arguments", {"{l}": "{v}"}, ""),
        ("tool", "customer record 88 | {l}={v} | open", ""),
        ("tool", "{'{l}': '{v}', 'tier': 2}", ""),
        ("tool", '- {l}: "{v}"\n- tier: gold', "indent"),
        ("user", "sure: {l}: {v}\nthanks!", ""),
        ("arguments", {"profile": {"{l}": "{v}", "tier": 2}}, ""),
        ("tool", '{"row": "{\\"{l}\\": \\"{v}\\"}"}', "twice"),
        ("assistant", "I have noted your {l} ({v}).", ""),
        ("tool", "<{l}>{v}</{l}>", ""),
        ("tool", "**{l}:** {v}", ""),
        ("tool", "| {l} | {v} |", ""),
        ("user", "{l} = {v}", ""),
        ("tool", "{l}\t{v}", ""),
        ("arguments", {"user": {"data": {"{l}": "{v}"}}}, ""),
        ("tool", '<input name="{l}" value="{v}">', "indent"),
        ("tool", '{"fields": [{"name": "{l}", "value": "{v}"}]}', "json"),
        ("assistant", "Your {l} on file is {v}. Shall I go on?", ""),
        ("user", "{l}:\n{v}", ""),
        ("tool", 'id,{l}\n4,"{v}"', ""),
    ),
    "held_out": (
        ("tool", "{l} .......... {v}", ""),
        ("tool", "<dt>{l}</dt><dd>{v}</dd>", "indent"),
        ("user", "Here is my {l}: {v}", ""),
        ("arguments", {"filter": "{l} = '{v}'"}, ""),
        ("tool", '{"meta": {"{l}": ["{v}"]}}', "json"),
        ("assistant", "- {l}: {v}\n- status: active", "indent"),
        ("tool", "| no | {l} |\n|---|---|\n| 1 | {v} |", ""),
        ("tool", "(4, {'{l}': '{v}'})", ""),
        ("user", "I changed my {l} to {v} last week", ""),
    ),
}
_OPEN: Halves = {
    "tune": (
        ("user", "Please use {v} for this.", ""),
        ("tool", "2025-02-01 10:00:02 INFO request from {v} accepted", ""),
        ("tool", "[{v}]", ""),
        ("arguments", {"text": "Sent to {v}."}, ""),
        ("assistant", 'It now says "{v}"; anything else?', ""),
        ("tool", "7;{v};open;EUR", ""),
        ("user", "-> {v} <-", ""),
        ("arguments", {"notes": ["old", "{v}"]}, ""),
        ("tool", "first line\\n{v}\\nlast line", "json"),
        ("user", "Is {v} correct?", ""),
        ("tool", "to={v};", ""),
        ("assistant", "Done: {v}.", ""),
        ("tool", '["{v}", "x"]', "json"),
        ("arguments", {"value": "{v}"}, ""),
        ("tool", "<td>{v}</td>", "indent"),
        ("tool", "'{v}',12,'x'", ""),
    ),
    "held_out": (
        ("user", "{v}", ""),
        ("tool", "key:{v},", ""),
        ("assistant", "I see two: {v} and another one.", ""),
        ("tool", '{"a": ["{v}"]}', "json"),
        ("tool", "#{v}#", ""),
        ("arguments", {"q": "from:{v} newer"}, ""),
    ),
}
GROUPS: Mapping[str, Halves] = {
    "token": _TOKEN, "labelled": _LABELLED, "pem": _PEM, "url": _URL, "web": _WEB, "bearer": _BEARER,
    "code_password": _CODE_PASSWORD, "field": _FIELD, "open": _OPEN,
    "service_account": {
        "tune": (
            ("tool", '{"type": "service_account", "project_id": "shop-1", "private_key": "{v}", "client_email": "x@y.iam"}', "json"),
            ("arguments", {"credentials": {"type": "service_account", "private_key": "{v}", "token_uri": "https://oauth2"}}, ""),
            ("tool", 'GOOGLE_CREDENTIALS={\\"type\\":\\"service_account\\",\\"private_key\\":\\"{v}\\"}', "twice"),
        ),
        "held_out": (
            ("tool", 'info = {\'type\': \'service_account\', \'private_key\': \'{v}\'}', "json"),
            ("arguments", {"file": "sa.json", "content": {"private_key": "{v}"}}, ""),
        ),
    },
    "connection": {
        "tune": (
            ("tool", "DefaultEndpointsProtocol=https;AccountName=shop1;AccountKey={v};EndpointSuffix=core.windows.net", ""),
            ("arguments", {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=logs;AccountKey={v}"}, ""),
        ),
        "held_out": (("user", "it is AccountName=a1;AccountKey={v};BlobEndpoint=https://a1.blob", ""),),
    },
    "basic": {
        "tune": (
            ("tool", "Authorization: Basic {v}", ""),
            ("arguments", {"headers": {"Authorization": "Basic {v}"}}, ""),
            ("assistant", "curl -H \"authorization: Basic {v}\" https://x.net", ""),
            ("tool", '{"proxy-authorization": "Basic {v}"}', "json"),
            ("tool", '{"req": "{\\"Authorization\\":\\"Basic {v}\\"}"}', "twice"),
        ),
        "held_out": (
            ("assistant", "fetch(u, {headers: {'Authorization': 'Basic {v}'}})", ""),
            ("tool", "< WWW: no\n> Authorization: Basic {v}\r\n> Host: x", ""),
        ),
    },
}  # fmt: skip


@cache
def of(kind: str, half: str) -> tuple[Context, ...]:
    """The contexts of a kind in one half."""
    names = labels.LABELS.get(kind, labels.TOKEN)[half]
    return tuple(
        Context(place, template, names, escape)
        for group in labels.SHAPES.get(kind, ("token",))
        for place, template, escape in GROUPS[group][half]
    )
