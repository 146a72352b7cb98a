"""app/deploy/Containerfile and app/deploy/kubernetes.yaml hold together, and with the service.

tests/packaging/test_wheel.py runs what they run.
"""

import re

import kubernetes_validate
import pytest

from record_presence.cli.main import main
from record_presence.server import gunicorn_config
from record_presence.settings import documented, read_settings
from tests.deploy.containers import (
    CONTAINERFILE,
    MANIFEST,
    container,
    container_environment,
    image_command,
    image_environment,
    instruction,
    objects,
    pod,
)

NAMES = {name for name, _ in documented()}


@pytest.mark.parametrize("kind", sorted(objects()))
def test_object_is_what_kubernetes_takes(kind):
    kubernetes_validate.validate(objects()[kind], kubernetes_validate.latest_version(), strict=True)


def test_every_variable_is_a_setting_and_is_valid():
    environ = {**image_environment(), **container_environment()}
    settings = read_settings({**environ, "SECRET_KEY": "x7-of-the-tests-and-long-enough-for-all"})

    assert set(environ) <= NAMES
    assert (settings.host, settings.drain_seconds > 0) == ("0.0.0.0", True)


def test_secrets_that_are_made_are_those_that_a_service_in_a_container_needs():
    named = re.findall(r"--from-literal=(\w+)=", MANIFEST.read_text("utf-8"))

    assert named == ["REDIS_URL", "SECRET_KEY"]
    assert container()["envFrom"] == [{"secretRef": {"name": objects()["Deployment"]["metadata"]["name"]}}]


def test_pod_is_left_out_by_its_service_before_it_ends_and_ends_before_it_is_killed():
    drain = int(container_environment()["PRESENCE_DRAIN_SECONDS"])
    probe = container()["readinessProbe"]

    assert probe["httpGet"]["path"] == "/health/ready"
    assert probe["periodSeconds"] * (probe["failureThreshold"] + 1) <= drain
    assert pod()["terminationGracePeriodSeconds"] > drain + 2 * gunicorn_config.graceful_timeout


def test_probes_that_restart_a_pod_do_not_ask_redis():
    for probe in ("livenessProbe", "startupProbe"):
        assert container()[probe]["httpGet"]["path"] == "/health/live"


def test_pod_needs_no_right_and_one_folder():
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod()["securityContext"]["runAsNonRoot"]
    assert f"{pod()['securityContext']['runAsUser']}:{pod()['securityContext']['runAsGroup']}" == (
        instruction("USER")
    )
    [mount] = container()["volumeMounts"]
    [volume] = pod()["volumes"]
    assert (mount["mountPath"], mount["name"]) == ("/tmp", volume["name"])
    assert "emptyDir" in volume


def test_ports_lead_from_the_service_to_the_process():
    [port] = container()["ports"]
    [service_port] = objects()["Service"]["spec"]["ports"]

    assert service_port["targetPort"] == port["name"]
    assert str(port["containerPort"]) == image_environment()["PORT"] == instruction("EXPOSE")
    labels = objects()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects()["Service"]["spec"]["selector"] == labels
    assert objects()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_image_runs_a_command_that_there_is_and_is_named_as_it_is_built():
    program, command = image_command()

    assert (program, command in main.commands) == ("record-presence", True)
    assert f"--tag {container()['image']} " in CONTAINERFILE.read_text("utf-8")
