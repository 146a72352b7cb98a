"""The debugging session of lua/README.md, carried out: it shows what the page says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from record_presence.presence.scripts import Scripts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "lua/README.md").read_text("utf-8")
CHAPTER = PAGE.partition("## Step through a script\n")[2].partition("\n## ")[0]
LAST = "(Lua debugging session ended"  # says redis-cli, unless its input has ended before
PROMPT = "lua debugger> "
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CHANGING = [
    (  # as Redis 6.2 says it
        re.compile(r"ERR Error running script \(call to f_(\w+)\): (@user_script:\d+): (script aborted.*)"),
        r"ERR \3 script: \1, on \2.",
    ),
    (re.compile(r"\b[0-9a-f]{40}\b"), "SHA"),
    # As Valkey says them
    (re.compile(r"script: SHA, on"), "script: on"),
    (re.compile(r"<redis>"), "<command>"),
    (re.compile(r'<value> "(.*)"'), lambda found: "<value> " + found[1].replace('\\"', '"')),
    (re.compile(r"\d+"), "N"),  # line numbers move with every edit; what stands in the lines may not
]


def block(language, text):
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def without_what_changes(lines):
    text = (
        "\n".join(filter(None, (COLOUR.sub("", line).strip() for line in lines))).partition(LAST)[0].strip()
    )
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return text


def typed(session, composed):
    """What is typed into the session, with the breakpoints where those lines stand by now."""
    commands = []
    for line in session:
        if line.startswith(PROMPT):
            commands.append(line.removeprefix(PROMPT))
        elif (breakpoint_line := re.match(r"  #\d+ (.*)", line)) and commands[-1].startswith("break "):
            [number] = [n for n, text in enumerate(composed, 1) if text == breakpoint_line[1]]
            commands[-1] = f"break {number}"
    return "".join(f"{command}\n" for command in commands)


def test_debugger_shows_what_the_page_says(real_redis, redis_server, tmp_path):
    script = block("sh", CHAPTER)
    session = block("", CHAPTER.replace(f"```sh\n{script}```", "")).splitlines()
    [composed] = [found.text.splitlines() for found in Scripts() if found.name == "heartbeat"]
    for there, here in {
        "/tmp/": f"{tmp_path}/",
        ".venv/bin/python": shlex.quote(sys.executable),
        "redis-cli": f"redis-cli -s {redis_server.socket}",
    }.items():
        assert there in script
        script = script.replace(there, here)

    run = subprocess.run(
        ["bash", "-ec", script],
        cwd=ROOT,
        input=typed(session, composed),
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = run.stdout[run.stdout.index("Lua debugging session started") :].splitlines()

    assert without_what_changes(shown) == without_what_changes(
        line for line in session if not line.startswith(PROMPT)
    ), run.stderr
