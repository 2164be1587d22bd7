"""What Ray Serve starts from words, as on Kubernetes."""

from pathlib import Path

import pytest
import yaml

from automl.bundle.limits import MAX_WAITING
from automl.errors import UsageError

# Ray Serve's own, at import.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

SERVICE = Path(__file__).parents[3] / "cluster" / "kuberay" / "rayservice.yaml"


def test_the_manifest_names_an_application_and_words_that_there_are(tmp_path):
    import importlib

    text = yaml.safe_load(SERVICE.read_text())["spec"]["serveConfigV2"]
    (declared,) = yaml.safe_load(text)["applications"]
    module, _, name = declared["import_path"].partition(":")
    build = getattr(importlib.import_module(module), name)
    token = tmp_path / "token"
    token.write_bytes(b"0123456789abcdef" * 2 + b"\n")
    assert declared["args"]["token_file"]
    bound = build({**declared["args"], "token_file": str(token)})
    deployment = bound._bound_deployment
    assert [each["name"] for each in declared["deployments"]] == [deployment.name]
    (settings,) = deployment.init_args
    assert str(settings.bundle) == declared["args"]["bundle"]
    assert settings.limits.token == b"0123456789abcdef" * 2
    assert deployment.max_queued_requests == MAX_WAITING
    threads = int(declared["args"]["threads"])
    assert settings.threads == threads
    assert declared["deployments"][0]["ray_actor_options"] == {"num_cpus": threads}


@pytest.mark.parametrize("words", [{}, {"bundel": "x"}, {"bundle": "x", "gpu": "1"}])
def test_words_that_mean_nothing_are_told(words):
    from automl.distributed.serve_application import application

    with pytest.raises(UsageError, match="allowed: bundle, threads, token_file"):
        application(words)


def test_a_token_that_can_be_guessed_is_refused(tmp_path):
    from automl.distributed.serve_application import application

    token = tmp_path / "token"
    token.write_text("secret")
    with pytest.raises(UsageError, match="characters, got 6"):
        application({"bundle": "x", "token_file": str(token)})
