"""The tokens that the recipes sign, each by its own language, as the service understands them."""

import json
import os
import shutil
import subprocess
import sys
import time
from functools import cache

import pytest

from record_presence.identity.bearer import BearerTokens
from record_presence.identity.caller import Unauthenticated
from record_presence.settings import Settings
from tests.hosts.hosts import APPLICATIONS_BY_NAME, RECIPES, node_command
from tests.hosts.service import JWT_KEY

LIFETIME_SECONDS = 300
# Each prints a JSON list of tokens for the users on its standard input: [[id, name], ...].
PHP = """
require "presence_token.php";
$users = json_decode(stream_get_contents(STDIN), true);
$sign = fn ($user) => presence_token(getenv("PRESENCE_JWT_KEY"), $user[0], $user[1], "1");
echo json_encode(array_map($sign, $users));
"""
RUBY = """
require "./presence_token"
users = JSON.parse($stdin.read.force_encoding("UTF-8"))
puts JSON.generate(users.map { |id, name| PresenceToken.sign(id, name, "1") })
"""
NODE = """
import { readFileSync } from 'node:fs';
import { presenceToken } from './presence-token.js';
const users = JSON.parse(readFileSync(0));
console.log(JSON.stringify(users.map(([id, name]) => presenceToken(id, name, '1'))));
"""
DJANGO = """
import json, sys
from types import SimpleNamespace
from django.conf import settings
from django.test import RequestFactory
settings.configure()
from presence_token import presence_token

def sign(user_id, name):
    request = RequestFactory().get("/presence-token")
    names = {"get_full_name": lambda: name, "get_username": lambda: ""}
    request.user = SimpleNamespace(pk=user_id, is_authenticated=True, **names)
    return presence_token(request).content.decode()

print(json.dumps([sign(*user) for user in json.load(sys.stdin)]))
"""
LANGUAGES = {
    "php": ("php", lambda: ["php", "-r", PHP]),
    "ruby": ("ruby", lambda: ["ruby", "-e", RUBY]),
    "node": ("node", lambda: [*node_command(), "--input-type=module", "--eval", NODE]),
    "django": ("django", lambda: [sys.executable, "-c", DJANGO]),
}
USERS = [
    (42, "Alice"),
    ("42", "Alice"),
    (0, "Zero"),
    (-1, "Minus one"),
    (2**53 - 1, "Largest that JavaScript can tell apart"),
    ("7c9e6679-7425-40de-944b-e07fc1f90ae7", "By UUID"),
    ("a/b?c=d&e", "By text"),
    (1, 'Zoë "Zo" O\'Hara \\ Sons'),
    (2, "李小龍"),
    (3, "ليلى حداد"),
    (4, "👩‍👩‍👧 of 𝔘nicode"),
    (5, "</script><b>Łukasz</b> & co"),
    (6, "~~~???>>>ÿÿÿ"),  # has + and / in plain base64
    (7, ""),
    (8, "N" * 200),
]


def run(folder, language, text):
    available, command = LANGUAGES[language]
    if not APPLICATIONS_BY_NAME[available].is_there():
        pytest.skip(APPLICATIONS_BY_NAME[available].missing)
    return subprocess.run(
        command(),
        cwd=RECIPES / folder,
        env={**os.environ, "PRESENCE_JWT_KEY": JWT_KEY, "PYTHONDONTWRITEBYTECODE": "1"},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


@cache
def tokens(language):
    """One for each of USERS."""
    ran = run(language, language, json.dumps(USERS))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def callers(tokens):
    verifier = BearerTokens(Settings(secret_key="a secret of the tests", jwt_key=JWT_KEY))
    return [verifier.identify(each) for each in tokens]


@pytest.mark.parametrize("language", LANGUAGES)
def test_service_understands_whom_a_token_names(language):
    found = callers(tokens(language))
    now = time.time()

    assert [(caller.user_id, caller.user_name) for caller in found] == USERS
    assert {type(caller.user_id) for caller in found} == {int, str}  # 42 and "42" are two users
    assert {(caller.tenant, caller.role, caller.records) for caller in found} == {("1", None, None)}
    assert all(0 < caller.expires_at - now < LIFETIME_SECONDS + 1 for caller in found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_token_is_one_word_that_a_header_can_carry(language):
    for token in tokens(language):
        assert token.isascii()
        assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()


@pytest.mark.parametrize("language", LANGUAGES)
def test_token_of_another_key_is_refused(language):
    verifier = BearerTokens(Settings(secret_key="a secret of the tests", jwt_key=JWT_KEY + "?"))

    with pytest.raises(Unauthenticated):
        verifier.identify(tokens(language)[0])


# What only some languages can hold in a string.
BROKEN_NAMES = {
    "php": r'presence_token(getenv("PRESENCE_JWT_KEY"), 1, "Zo\xeb", "1")',
    "ruby": r'PresenceToken.sign(1, "Zo\xEB", "1")',
    "node": r"presenceToken(1, 'Zo\ud800', '1')",
}
SAY = {
    "php": 'require "presence_token.php"; echo {};',
    "ruby": 'require "./presence_token"; puts {}',
    "node": "import {{ presenceToken }} from './presence-token.js'; console.log({});",
}
INTERPRETERS = {
    "php": lambda source: ["php", "-r", source],
    "ruby": lambda source: ["ruby", "-e", source],
    "node": lambda source: [*node_command(), "--input-type=module", "--eval", source],
}


def interpret(language, expression, key=JWT_KEY):
    application = APPLICATIONS_BY_NAME[language]
    if not application.is_there():
        pytest.skip(application.missing)
    environment = {name: value for name, value in os.environ.items() if name != "PRESENCE_JWT_KEY"}
    return subprocess.run(
        INTERPRETERS[language](SAY[language].format(expression)),
        cwd=RECIPES / language,
        env={**environment, **({"PRESENCE_JWT_KEY": key} if key else {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("language", BROKEN_NAMES)
def test_name_that_is_no_text_shuts_nobody_out(language):
    ran = interpret(language, BROKEN_NAMES[language])
    assert ran.returncode == 0, ran.stderr

    [caller] = callers([ran.stdout.strip()])
    assert caller.user_name in ("Zo�", "Zo?")


@pytest.mark.parametrize("language", BROKEN_NAMES)
def test_nothing_is_signed_without_a_key(language):
    ran = interpret(language, BROKEN_NAMES[language], key=None)

    assert ran.returncode != 0
    assert "eyJ" not in ran.stdout


def test_name_in_another_encoding_is_read_by_ruby():
    ran = interpret("ruby", r'PresenceToken.sign(1, "Zo\xEB".force_encoding("ISO-8859-1"), "1")')

    [caller] = callers([ran.stdout.strip()])
    assert caller.user_name == "Zoë"


CHECKS = {".php": ["php", "-l"], ".rb": ["ruby", "-c"]}


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(RECIPES.rglob("*")) if path.suffix in CHECKS],
    ids=lambda path: str(path.relative_to(RECIPES)),
)
def test_recipe_is_valid(path):
    command = CHECKS[path.suffix]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is missing")
    ran = subprocess.run([*command, path], capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stdout + ran.stderr
