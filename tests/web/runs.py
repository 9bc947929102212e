"""Runs of the numpy trainer, which make 20 steps a second."""

from tests.processes.test_gateway import GatewayProcess, wait_for


def start(gateway: GatewayProcess, **changes: object) -> str:
    return gateway.start(**{"cadence": {"checkpoint_steps": 20, "log_steps": 1}, **changes})


def end(gateway: GatewayProcess, *runs: str) -> None:
    """Kills what is still there of them, and waits until nothing works on them any more."""
    for run in runs:
        if gateway.get(f"/v1/runs/{run}", check=False).status_code == 200:
            gateway.post(f"/v1/runs/{run}:kill")
            wait_for(lambda each=run: gateway.run(each)["state"] in ("stopped", "failed"))
