"""What starts the jobs of a multirun: joblib, submitit, SLURM and Ray, and what is refused before they are asked."""

import socket

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

# ---------------------------------------------------------------- refused before the first job


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-m", "launcher=torque"], "launcher=torque does not exist. Choices: joblib, local_gpus, ray"),
        (["-m", "hydra/launcher=torque"], "hydra/launcher=torque does not exist, or its plugin is not installed"),
        (["launcher=joblib"], "launcher=joblib starts the jobs of a multirun: add -m, or leave it out"),
        (["-m", "launcher=ray,joblib"], "launcher=ray,joblib: one launcher starts all jobs of a multirun: name one"),
        (["-m", "launcher=joblib", "hydra.launcher.partition=a"], "'hydra.launcher.partition' is not one of this l"),
        (
            ["-m", "launcher=slurm", "hydra.launcher.nodes=2"],
            "hydra.launcher.nodes=2 and hydra.launcher.tasks_per_node=1 would run every job several times: leave both",
        ),
    ],
)  # fmt: skip
def test_a_launcher_that_cannot_be_meant_is_refused(command, words, sentence):
    configs, said = command(*words, "seed=1,2") if words[0] == "-m" else command(*words)
    assert sentence in said and not configs


@pytest.mark.parametrize(
    ("plugin", "extra"),
    [("submitit_slurm", "slurm"), ("submitit_local", "slurm"), ("joblib", "joblib"), ("ray", "ray")],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(command, monkeypatch, plugin, extra):
    Plugins.instance()  # it registers what is installed
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml")
    _, said = command("-m", f"hydra/launcher={plugin}", "seed=1,2")
    assert f"hydra/launcher={plugin} is not installed: pip install 'affect[{extra}]'" in said


def test_slurm_is_refused_where_there_is_none(command, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    _, said = command("-m", "launcher=slurm", "seed=1,2")
    assert (
        "launcher=slurm hands the jobs to SLURM, and this machine has no sbatch and no srun: start the command" in said
    )


def test_gpus_that_are_not_there_are_not_waited_for(command, monkeypatch, tmp_path):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = ("-m", "launcher=local_gpus", "seed=1,2")
    assert "launcher=local_gpus wants 1 a job, and this machine shows none: take launcher=joblib" in command(*words)[1]
    tool.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    tool.chmod(0o755)
    _, said = command(*words, "hydra.launcher.ray.init.num_gpus=3")
    assert "wants 3 GPUs (hydra.launcher.ray.init.num_gpus), and this machine shows 2: give as many or fewer" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "and this machine shows 1: give" in command(*words, "hydra.launcher.ray.init.num_gpus=2")[1]


def test_an_address_where_no_ray_answers_is_named(command):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"127.0.0.1:{port}"
    for given in (address, f"ray://{address}"):
        _, said = command("-m", "launcher=ray_cluster", f"hydra.launcher.ray.init.address='{given}'", "seed=1,2")
        assert f"address={given}: no Ray cluster answers there (" in said and "Connection refused" in said
