"""What app/deploy/Containerfile and app/deploy/kubernetes.yaml say."""

import json
import re
from typing import Any

import yaml

from tests.gunicorn_server import ROOT

CONTAINERFILE = ROOT / "app/deploy/Containerfile"
MANIFEST = ROOT / "app/deploy/kubernetes.yaml"


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Containerfile with what follows it."""
    lines = CONTAINERFILE.read_text("utf-8").splitlines()
    pairs = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in pairs]


def instruction(name: str) -> str:
    [rest] = [rest for each, rest in instructions() if each == name]
    return rest


def image_command() -> list[str]:
    command: list[str] = json.loads(instruction("CMD"))
    return command


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", instruction("ENV")))


def objects() -> dict[str, Any]:
    """Those of the manifest, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text("utf-8")) if each}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    [only] = pod()["containers"]
    return dict(only)


def container_environment() -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container()["env"]}
