"""A process on the head of a Ray cluster that has the cluster suspended when its time is over.

It runs as a job of the cluster itself, so that a cluster ends also where nobody who made it is left. It needs Python
3.8 and, in its environment, the workspace's token.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

TOKEN_VARIABLE = "LEPTON_WORKSPACE_TOKEN"  # noqa: S105 - names where the token is, and holds none
DASHBOARD = "http://127.0.0.1:8265"
FINAL = ("STOPPED", "SUCCEEDED", "FAILED")
LOOK_S = 5
RETRY_S = 10
CALL_S = 30


def main(arguments: list[str] | None = None) -> None:
    """Wait, and have the cluster suspended; where that fails, ask again until this very process is ended by it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cluster", required=True, help="address of the cluster at its platform")
    parser.add_argument("--origin", default="", help="value of the Origin header")
    parser.add_argument("--until", type=float, help="Unix time")
    parser.add_argument("--after", help="the job whose end is waited for")
    parser.add_argument("--linger", type=float, default=0, help="seconds after that end")
    given = parser.parse_args(arguments)
    until = given.until or float("inf")
    ended = False
    while time.time() < until:
        if given.after and not ended and has_ended(given.after):
            ended = True
            until = min(until, time.time() + given.linger)
        time.sleep(max(0, min(LOOK_S, until - time.time())))
    while True:
        say("suspending the cluster")
        if suspended(given.cluster, given.origin):
            return
        time.sleep(RETRY_S)


def say(text: str) -> None:
    """Write a line of the job's output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def has_ended(job: str) -> bool:
    """Tell whether a job of this cluster is over; where nobody can tell, it is not."""
    try:
        with urllib.request.urlopen(f"{DASHBOARD}/api/jobs/{job}", timeout=CALL_S) as answer:  # noqa: S310 - the head's own address
            return json.loads(answer.read()).get("status") in FINAL
    except (OSError, ValueError):
        return False


def suspended(cluster: str, origin: str) -> bool:
    """Ask the platform to suspend the cluster, and tell whether it has said yes."""
    headers = {"Authorization": f"Bearer {os.environ[TOKEN_VARIABLE]}", "Content-Type": "application/json"}
    if origin:
        headers["Origin"] = origin
    body = json.dumps({"spec": {"suspend": True}}).encode()
    request = urllib.request.Request(cluster, data=body, headers=headers, method="PATCH")  # noqa: S310 - http(s), as given
    try:
        with urllib.request.urlopen(request, timeout=CALL_S):  # noqa: S310 - as above
            return True
    except urllib.error.HTTPError as error:
        say(f"the platform answers {error.code}")
    except OSError as error:
        say(f"the platform does not answer: {error}")
    return False


if __name__ == "__main__":
    main()
