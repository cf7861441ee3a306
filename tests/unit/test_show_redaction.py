"""Secrets are found in a definition, and no text shows them."""

import json
import re
from base64 import b64encode, encodebytes, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from moorage.show.redaction import (
    HIDDEN,
    redact,
    redact_config,
    redact_data,
    secret_forms,
    secret_values,
)
from moorage.show.secret_names import looks_secret

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\nAQEFAASCBKcwggSjAgEA\n-----END PRIVATE KEY-----\n"

texts = st.text(min_size=0, max_size=40)
values = st.text(min_size=4, max_size=30).filter(lambda text: text.strip("*") and not text.isspace())


def config_of(**environment):
    return {"name": "shop", "services": {"db": {"image": "postgres:16", "environment": environment}}}


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD",
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "MYSQL_ROOT_PASSWORD",
        "DB_PASSWD",
        "db_pwd",
        "SECRET",
        "CLIENT_SECRET",
        "clientSecret",
        "DJANGO_SECRET_KEY",
        "SECRET_KEY_BASE",
        "GITHUB_TOKEN",
        "NPM_TOKEN_2",
        "TOKEN",
        "API_KEY",
        "apiKey",
        "OPENAI_APIKEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "SSH_PRIVATE_KEY",
        "STRIPE_KEY",
        "APP_KEY",
        "ENCRYPTION_KEY",
        "AWS_CREDENTIALS",
        "SENTRY_DSN",
        "REDIS_AUTH",
        "AUTH",
        "VAULT_SECRET_ID",
        "ERLANG_COOKIE",
        "requirepass",
        "splunk-token",
    ],
)
def test_secret_names(name):
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "PATH",
        "POSTGRES_USER",
        "POSTGRES_DB",
        "POSTGRES_HOST_AUTH_METHOD",
        "POSTGRES_PASSWORD_FILE",
        "TOKEN_TTL",
        "JWT_EXPIRES_IN",
        "MAX_TOKENS",
        "AUTH_URL",
        "OAUTH_CLIENT_ID",
        "PUBLIC_KEY",
        "STRIPE_PUBLISHABLE_KEY",
        "CACHE_KEY",
        "KEY_PREFIX",
        "KEYCLOAK_HOST",
        "AUTHOR",
        "COMPASS",
        "BYPASS",
        "TOKENIZERS_PARALLELISM",
        "PASSWORD_MIN_LENGTH",
        "SECRET_NAME",
    ],
)
def test_names_of_no_secrets(name):
    assert not looks_secret(name)


def test_environment_as_mapping_and_as_list():
    assert "hunter2hunter" in secret_values(config_of(POSTGRES_PASSWORD="hunter2hunter"))
    listed = {
        "services": {"db": {"environment": ["POSTGRES_PASSWORD=hunter2hunter", "POSTGRES_USER=susan", "EMPTY_TOKEN"]}}
    }
    assert secret_values(listed) == secret_forms("hunter2hunter")


def test_build_arguments_options_and_commands():
    service = {
        "build": {"context": ".", "args": {"NPM_TOKEN": "npm_0123456789"}},
        "logging": {"options": {"splunk-token": "splunk-4711x"}},
        "command": ["redis-server", "--requirepass", "open-sesame", "--port", "6379"],
        "healthcheck": {"test": ["CMD-SHELL", "PGPASSWORD=sh0rt-1 psql -c 'select 1' && redis-cli --pass 'x'"]},
        "entrypoint": ["sh", "-c", "app --api-key=abc-def-123 --verbose"],
    }
    found = secret_values({"services": {"app": service}})
    assert {"npm_0123456789", "splunk-4711x", "open-sesame", "sh0rt-1", "abc-def-123"} <= found
    assert not {"6379", "--verbose", "select 1"} & found


def test_a_reference_to_a_variable_is_no_value():
    service = {"healthcheck": {"test": ["CMD-SHELL", "PGPASSWORD=$$POSTGRES_PASSWORD psql"]}}
    assert secret_values({"services": {"app": service}}) == frozenset()


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgres://app:s3cr3t-pw@db:5432/app", "s3cr3t-pw"),
        ("postgres://app:p%40ss%2Fword@db/app", "p@ss/word"),
        ("redis://:only-a-password@cache:6379/0", "only-a-password"),
        ("amqp://u:with@at-sign@mq/", "with@at-sign"),
        ("postgres://u:with/slash@db/x", "with/slash"),
        ("https://ghp_0123456789abcdefXYZ@github.com/a/b.git", "ghp_0123456789abcdefXYZ"),
    ],
)
def test_credentials_in_urls(url, secret):
    found = secret_values(config_of(DATABASE_URL=url))
    assert secret in found
    assert secret not in redact(f"cannot connect to {url}", found)


@pytest.mark.parametrize(
    "url", ["http://host:8080/path@x", "http://a:80,http://b:81", "mailto:a@b.example", "http://h/?q=a@b"]
)
def test_urls_without_credentials_stay(url):
    assert secret_values(config_of(WHERE=url)) == frozenset()
    assert redact(url) == url


def test_passwords_in_urls_go_from_any_text():
    assert redact("GET https://user:whatever@example.org/x 401") == f"GET https://user:{HIDDEN}@example.org/x 401"


def test_compose_secrets_are_secret_whatever_their_name():
    config = {
        "services": {},
        "secrets": {"motd": {"content": "the quick brown fox"}, "f": {"file": "./x"}, "e": {"environment": "VAR"}},
    }
    assert secret_values(config) == secret_forms("the quick brown fox")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc",
        "true",
        "False",
        "none",
        "postgres",
        "db",
        "shop",
        "trust",
        "1234",
        "3600s",
        "0.25m",
        "/run/secrets/db_password",
        "127.0.0.1",
        "127.0.0.1:9000",
        "http://10.0.0.7:8080/",
        "[::1]:80",
        "json",
    ],
)
def test_what_would_eat_the_output_is_not_hidden(value):
    assert secret_values(config_of(PASSWORD=value)) == frozenset()


def test_parts_of_the_name_of_the_stack_are_public():
    found = secret_values({**config_of(PASSWORD="acme-shop"), "name": "acme-shop-main"})
    assert redact("acme-shop-main-db-1 Created", found) == "acme-shop-main-db-1 Created"


def test_a_long_name_without_a_value_takes_no_time():
    redact("a-" * 50_000, secret_values(config_of(NOTE="a-" * 50_000)))


def test_yet_where_it_is_a_password_it_is_not_shown():
    shown = redact_config(config_of(POSTGRES_PASSWORD="postgres", POSTGRES_USER="postgres", PIN_TOKEN=1234))
    environment = shown["services"]["db"]["environment"]
    assert environment == {"POSTGRES_PASSWORD": HIDDEN, "POSTGRES_USER": "postgres", "PIN_TOKEN": HIDDEN}
    assert shown["services"]["db"]["image"] == "postgres:16"


def test_long_numbers_are_secrets():
    assert "123456" in secret_values(config_of(PASSWORD=123456))


def test_dollars_are_doubled_in_a_config_and_single_in_the_container():
    found = secret_values(config_of(PASSWORD="pa$$word-x"))
    assert redact("pa$word-x and pa$$word-x", found) == f"{HIDDEN} and {HIDDEN}"


def test_a_secret_of_several_lines_is_hidden_line_by_line():
    found = secret_values(config_of(TLS_PRIVATE_KEY=PEM))
    assert redact(PEM, found).strip() == HIDDEN
    assert "MIIEvQ" not in redact("  line: MIIEvQIBADANBgkqhkiG", found)
    assert "MIIEvQ" not in redact(json.dumps({"key": PEM}), found)


def test_unicode():
    found = secret_values(config_of(PASSWORD="пароль-ключ-鍵"))
    assert redact("→ пароль-ключ-鍵 ←", found) == f"→ {HIDDEN} ←"
    assert "\\u043f" not in redact(json.dumps("пароль-ключ-鍵"), found)


def test_values_from_elsewhere_follow_the_same_rules():
    found = secret_values(config_of(), ["from-a-file", "postgres", "db", "true", ""])
    assert found == secret_forms("from-a-file")


def test_half_a_surrogate_pair():
    assert "\ud800abc" in secret_values(config_of(PASSWORD="\ud800abc"))


def test_the_longer_value_goes_first():
    assert redact("abcdefgh", {"abcd", "abcdefgh"}) == HIDDEN


def test_nothing_to_hide():
    assert redact("as it is", ()) == "as it is"
    assert redact("as it is", {"", "it", "****", "   "}) == "as it is"


def test_config_is_copied_and_its_shape_kept():
    config = {
        "name": "shop",
        "services": {
            "api": {
                "environment": {
                    "DATABASE_URL": "postgres://a:s3cr3t-pw@db/x",
                    "TOKEN": None,
                    "DEBUG": "1",
                    "EMPTY_SECRET": "",
                },
                "command": ["serve", "--token", "tok-12345", "s3cr3t-pw"],
                "secrets": [{"source": "db_password", "target": "/run/secrets/db_password"}],
                "labels": {"traefik.enable": "true"},
                "ports": [{"target": 80, "published": "8080"}],
            },
            "old": {"environment": ["API_TOKEN=abcdefgh", "PLAIN=1"]},
        },
        "secrets": {"db_password": {"content": "two\nlines"}, "f": {"file": "./x"}},
    }
    before = json.dumps(config)
    shown = redact_config(config)
    assert json.dumps(config) == before
    api = shown["services"]["api"]
    assert api["environment"] == {
        "DATABASE_URL": f"postgres://a:{HIDDEN}@db/x",
        "TOKEN": None,
        "DEBUG": "1",
        "EMPTY_SECRET": "",
    }
    assert api["command"] == ["serve", "--token", HIDDEN, HIDDEN]
    assert {k: api[k] for k in ("secrets", "labels", "ports")} == {
        k: config["services"]["api"][k] for k in ("secrets", "labels", "ports")
    }
    assert shown["services"]["old"]["environment"] == [f"API_TOKEN={HIDDEN}", "PLAIN=1"]
    assert shown["secrets"] == {"db_password": {"content": HIDDEN}, "f": {"file": "./x"}}


@pytest.mark.parametrize("config", [{}, {"services": None}, {"services": {"a": None}}, {"secrets": {"x": None}}])
def test_bare_configs(config):
    assert secret_values(config) == frozenset()
    assert redact_config(config) == config


def test_plain_data():
    shown = redact_data({"log": ["uses s3cr3t-pw", 1], "s3cr3t-pw": ("a", None)}, {"s3cr3t-pw"})
    assert shown == {"log": [f"uses {HIDDEN}", 1], "s3cr3t-pw": ["a", None]}


@given(texts, texts, st.sets(values, min_size=1, max_size=4), st.data())
def test_no_value_survives(before, after, secrets, data):
    secret = data.draw(st.sampled_from(sorted(secrets)))
    shown = redact(before + secret + after, secrets)
    assert [value for value in secrets if value in shown] == []


@given(st.lists(values, min_size=1, max_size=3), st.sampled_from(["", " ", "\n", ":", "@"]))
def test_no_value_survives_beside_others(secrets, between):
    shown = redact(between.join(secrets * 2), secrets)
    assert [value for value in secrets if value in shown] == []


@given(values, texts)
@example("p@ss:w/rd", "")
@example("a\r\nb\tc d", "x")
@example("%41%42%43%44", "")
@example("$$$$", "$")
def test_a_secret_of_the_definition_is_in_no_text(secret, around):
    found = secret_values(config_of(DB_PASSWORD=secret))
    assume(found)
    assert secret not in redact(f"{around}{secret}{around}", found)
    assert secret not in str(redact_data({"a": [secret, (secret,)]}, found)["a"][0])


@given(values)
def test_every_form_is_hidden(secret):
    for form in secret_forms(secret):
        assert form not in redact(f"<{form}>", secret_forms(secret))


def test_a_url_in_a_secret_variable_is_hidden_with_its_password():
    assert "s3cr3t-pw" not in redact(
        "password s3cr3t-pw is wrong", secret_values(config_of(DB_DSN="pg://u:s3cr3t-pw@h/x"))
    )


HOOK = "https://hooks.slack.com/services/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"


@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        ("ALERTS", HOOK, ["9aZkQ2wLr7Xc1Vb3nM5pS8dU", "T0AB12CD3"]),
        ("ALERTS", "https://discord.com/api/webhooks/4711/aB-cD_eF12345", ["aB-cD_eF12345"]),
        ("DEPLOY_WEBHOOK_URL", "https://ci.example.org/hooks/71f2e9", ["ci.example.org", "71f2e9"]),
        ("TELEGRAM", "https://api.telegram.org/bot123:AAxyz-9/sendMessage", ["AAxyz-9"]),
    ],
)
def test_web_hooks(name, url, shown):
    found = secret_values(config_of(**{name: url}))
    for text in (
        f"POST {url} 403",
        f'"POST {url.split("/", 3)[3]} HTTP/1.1"',
        quote(url, safe=""),
        b64encode(url.encode()).decode(),
    ):
        assert [part for part in shown[-1:] if part in redact(text, found)] == []
    assert [part for part in shown if part in redact(f"POST {url} 403", found)] == []


def test_a_well_known_web_hook_goes_from_any_text():
    assert redact(f"<{HOOK}>") == f"<https://hooks.slack.com/services/{HIDDEN}>"
    assert redact(redact(HOOK)) == redact(HOOK)
    assert redact("https://backend:8000/api/webhooks/stripe") == "https://backend:8000/api/webhooks/stripe"


CONF = """# written by hand
listen 80;
requirepass open-sesame
"api_key": "k-4711-0815",
upstream_host = a-rather-long-name.internal
"""


def test_of_a_config_long_lines_and_secret_settings_are_hidden():
    found = secret_values(config_of(), (), [CONF, "one-word-only", "hello"])
    assert redact("auth with open-sesame or k-4711-0815", found) == f"auth with {HIDDEN} or {HIDDEN}"
    assert redact("> upstream_host = a-rather-long-name.internal", found) == f"> {HIDDEN}"
    assert redact("listen 80; hello", found) == "listen 80; hello"
    assert redact("one-word-only", found) == HIDDEN
    inline = {"services": {}, "configs": {"c": {"content": CONF}}}
    assert redact(CONF, secret_values(inline)) == redact(CONF, found)
    assert redact_config(inline)["configs"] == {"c": {"content": HIDDEN}}


def test_escape_sequences_in_the_midst_of_a_value():
    assert redact("\x1b[32mhunt\x1b[0mer2-x ok", {"hunter2-x"}) == f"{HIDDEN} ok"
    assert redact("\x1b[32mgreen\x1b[0m", {"hunter2-x"}) == "\x1b[32mgreen\x1b[0m"
    assert redact("hun\x00ter2-x", {"hunter2-x"}) == HIDDEN


def test_values_that_overlap_leave_no_rest():
    assert redact("<abcdefgh>", {"abcdef", "defgh"}) == f"<{HIDDEN}>"


ENCODERS = {
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: encodebytes(text.encode()).decode(),
    "base64 for URLs": lambda text: urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "quote, small": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "JSON for scripts": lambda text: (
        json.dumps(text).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    ),
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "Python": lambda text: repr(text)[1:-1],
}
CODES = {"base64", "base64 for URLs", "hex", "HEX"}
random_secrets = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=8, max_size=40
).filter(lambda text: text == text.strip() and len(set(text)) > 4 and "*" not in text)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("secret", ["pa/ss+w<o>rd&x", 'quote"back\\slash', "пароль-ключ-鍵", "plain4711word"])
def test_forms(name, secret):
    for before, after in (("", ""), ("user:", "\n"), ("ab", "é")):
        assert_hidden(name, secret, before, after)


@given(st.sampled_from([*ENCODERS]), random_secrets, texts, texts)
def test_no_form_of_a_secret_survives(name, secret, before, after):
    assume(not any(0xD800 <= ord(char) < 0xE000 for char in before + after))
    assume(secret_values(config_of(DB_PASSWORD=secret)))
    assert_hidden(name, secret, before, after)


def assert_hidden(name, secret, before, after):
    """Encoded alone, and in base64 and hex also together with what stands around it."""
    encode, found = ENCODERS[name], secret_values(config_of(DB_PASSWORD=secret.replace("$", "$$")))
    form = encode(secret)
    assert form not in redact(f"{before}<{form}>{after}", found)
    if name in CODES:
        assert redact(f"Basic {encode(before + secret + after)}", found) == f"Basic {HIDDEN}"


@given(st.lists(random_secrets, min_size=2, max_size=5), st.sampled_from([*ENCODERS]))
def test_each_line_of_a_secret_is_hidden_in_each_form(lines, name):
    found = secret_values(config_of(), ["\n".join(lines)])
    for line in lines:
        form = ENCODERS[name](line.strip())
        if len(line.encode()) >= 8 and line in found:
            assert form not in redact(f"key: {form}", found)


@given(texts)
def test_redacting_twice_changes_nothing(text):
    once = redact(text, {"abcd", "xy*z"})
    assert redact(once, {"abcd", "xy*z"}) == once
