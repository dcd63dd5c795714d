from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.docker.request import DockerSpec, request
from nemo_runspec.platforms.limits import KERNEL_STRING_BYTES
from nemo_runspec.platforms.workload import NAME, Tree

HOME = "/srv/jobs home"


def spec(**more: Any) -> DockerSpec:  # noqa: ANN401 - fields of any kind
    return DockerSpec(**{"image": "img:1", "argv": ("bash", "-c", 'echo "$1"')} | more)


def containers(*specs: DockerSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = request(*specs, home=HOME).body["containers"]
    return found


def test_one_container_in_the_words_of_the_engine() -> None:
    asked = request(spec(env={"A": "b c"}), home=HOME, files={"launch.sh": (b"x", True)}, source=Tree("5a", b""))
    assert asked.platform == "docker"
    assert asked.body == {
        "home": HOME,
        "files": {"launch.sh": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
        "source": "5a",
        "containers": [
            {
                "name": f"{NAME}-0",
                "config": {
                    "Image": "img:1",
                    "Entrypoint": ["bash"],
                    "Cmd": ["-c", 'echo "$1"'],
                    "Env": [
                        *("NEMO_RUNSPEC_JOB_DIR=/nemo_run", "A=b c", "NNODES=1", "NODE_RANK=0", "MASTER_ADDR=localhost")
                    ],
                    "Hostname": f"{NAME}-0",
                    "Labels": {
                        "nemo-runspec.name": NAME,
                        "nemo-runspec.folder": f"{HOME}/jobs/{NAME}",
                        "nemo-runspec.index": "0",
                        "nemo-runspec.count": "1",
                    },
                    "HostConfig": {
                        "Mounts": [
                            {"Type": "bind", "Source": f"{HOME}/jobs/{NAME}", "Target": "/nemo_run", "ReadOnly": False}
                        ],
                        "Init": True,
                        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1t"}},
                    },
                },
            }
        ],
    }


def test_what_a_profile_says_arrives() -> None:
    (found,) = containers(
        spec(
            mounts=(("/data sets", "/data", True),),
            workdir="/work",
            user="1000:100",
            runtime="nvidia",
            ipc_mode="host",
            shm_size="30g",
            network="host",
        )
    )
    config, host = found["config"], found["config"]["HostConfig"]
    assert host["Mounts"][1] == {"Type": "bind", "Source": "/data sets", "Target": "/data", "ReadOnly": True}
    assert (config["WorkingDir"], config["User"], host["Runtime"]) == ("/work", "1000:100", "nvidia")
    assert (host["IpcMode"], host["ShmSize"], host["NetworkMode"]) == ("host", 30 * 2**30, "host")
    assert {"HOME=/tmp", "USER=user", "LOGNAME=user"} < set(config["Env"])
    assert "Hostname" not in config


@pytest.mark.parametrize(
    ("text", "size"), [("64m", 2**26), ("1.5GB", 3 * 2**29), ("512", 512), ("2 GiB", 2**31), ("8k", 8192)]
)
def test_sizes(text: str, size: int) -> None:
    (found,) = containers(spec(shm_size=text))
    assert found["config"]["HostConfig"]["ShmSize"] == size


def test_several_containers_have_a_network_and_a_place_each() -> None:
    body = request(spec(nodes=2), spec(nodes=1, env={"HOME": "/root"}), home=HOME).body
    assert body["network"]["Name"] == NAME
    assert body["network"]["Labels"]["nemo-runspec.name"] == NAME
    places = [one["config"]["Env"][-3:] for one in body["containers"]]
    assert places == [
        ["NNODES=2", "NODE_RANK=0", f"MASTER_ADDR={NAME}-0"],
        ["NNODES=2", "NODE_RANK=1", f"MASTER_ADDR={NAME}-0"],
        ["NNODES=1", "NODE_RANK=0", "MASTER_ADDR=localhost"],
    ]
    assert {one["config"]["HostConfig"]["NetworkMode"] for one in body["containers"]} == {NAME}
    assert "network" not in request(spec(nodes=2, network="mine"), home=HOME).body


def test_gpus_are_a_number_for_one_container_and_named_for_several() -> None:
    (alone,) = containers(spec(gpus=8))
    assert alone["config"]["HostConfig"]["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], "Count": 8}]
    assert {"Name": "memlock", "Soft": -1, "Hard": -1} in alone["config"]["HostConfig"]["Ulimits"]
    several = containers(spec(nodes=2, gpus=2), spec(gpus=1), spec())
    assert [
        [asked["DeviceIDs"] for asked in one["config"]["HostConfig"].get("DeviceRequests", ())] for one in several
    ] == [[["0", "1"]], [["2", "3"]], [["4"]], []]


def test_secrets_are_in_no_body_and_no_digest() -> None:
    first, second = (request(spec(), home=HOME, secrets=(("TOKEN", value),)) for value in ("canary", "other"))
    assert "canary" not in str(first.body)
    assert first.secrets == (("TOKEN", "canary"),)
    assert first.secret_variables == {"TOKEN"}
    assert first.digest == second.digest


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"image": ""}, "there is no container image"),
        ({"nodes": 0}, "a job of 0 containers cannot be"),
        ({"gpus": -1}, "-1 GPUs in each container cannot be"),
        ({"argv": ()}, "there is no command to run"),
        ({"nodes": 2, "network": "none"}, "cannot find each other"),
        ({"shm_size": "much"}, "shm_size is 'much', which is no size such as '30g'"),
        ({"shm_size": "0"}, "shm_size is '0'"),
        ({"workdir": "work"}, "the working directory 'work' is not absolute"),
        ({"mounts": (("data", "/data", False),)}, "the source of the mount 'data' is not absolute"),
        ({"mounts": (("/data", "data", False),)}, "the mount path 'data' is not absolute"),
        ({"mounts": (("/data", "/nemo_run/", False),)}, "'/nemo_run/' cannot be mounted on"),
        ({"mounts": (("/a", "/x", False), ("/b", "/x/", False))}, "2 volumes are mounted on '/x'"),
        ({"env": {"A": "x" * (KERNEL_STRING_BYTES - 1)}}, "the variable 'A' has 131,070 bytes; Docker takes 131,069"),
        ({"env": {"A": "nul\0"}}, "holds a NUL byte"),
        ({"env": {"A=B": ""}}, "has no name that Docker takes"),
        ({"env": {"NODE_RANK": "7"}}, "the variable 'NODE_RANK' tells a container its place among the others"),
        ({"env": {"NEMO_RUNSPEC_JOB_DIR": "/x"}}, "is this library's own and cannot be set"),
        ({"env": {"IFS": ":"}, "argv": ("bash", "launch.sh")}, "the variable 'IFS' is bash's own"),
        ({"argv": ("bash", "x" * (KERNEL_STRING_BYTES + 1))}, "word 1 of the command has 131,072 bytes"),
        ({"env": {f"A{number}": "x" * 131_000 for number in range(16)}}, "the kernel takes 1,966,080 in a container"),
    ],
)
def test_what_cannot_be_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError) as raised:
        request(spec(**more), home=HOME)
    assert message in str(raised.value)


def test_a_home_that_is_relative_and_a_secret_without_a_shells_name_are_refused() -> None:
    with pytest.raises(ProfileError) as raised:
        request(spec(), home="jobs", secrets=(("MY-TOKEN", "x"),))
    assert "the folder for jobs 'jobs' is not absolute" in str(raised.value)
    assert "the secret's name 'MY-TOKEN' is none that a shell takes" in str(raised.value)
