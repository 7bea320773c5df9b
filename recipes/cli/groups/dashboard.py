"""`plumbline dashboard`: the Ray dashboard of a run that is under way."""

from __future__ import annotations

from typing import Annotated

import typer

from recipes.cli.groups.recipe import GROUP
from recipes.cli.parameters import RunPath
from rl.errors import RunError


@GROUP.command()
def dashboard(
    run: RunPath,
    port: Annotated[int, typer.Option(help="Port to serve on; 0 takes a free one.")] = 0,
) -> None:
    """Open the Ray dashboard of a run that is under way, without typing Ray's token.

    Prints the address of a web page on 127.0.0.1 that signs your browser in and sends it on. The
    address works once: do not pass it on. From another machine, forward both ports first (give
    --port): ssh -L 8264:127.0.0.1:8264 -L 8265:127.0.0.1:8265 HOST.
    """
    from rl.runs.store import RunStore
    from rl.runtime.dashboard import Dashboard
    from rl.runtime.sign_in import SignIn

    found = Dashboard.of_run(RunStore.open(run).root)
    if not found.asks_for_token():
        print(found.url)
        return
    from rl.runtime.cluster import dashboard_token

    token = dashboard_token()
    found.require(token)
    sign_in = SignIn(found.url, token, port=port)
    print(f"open {sign_in.url} (once, within 10 minutes; Ctrl-C ends this)", flush=True)
    if not sign_in.serve(wait_s=600.0):
        raise RunError("nobody opened the address within 10 minutes", do="call the command again")
    print(f"signed in; the dashboard is {found.url} in that browser")
