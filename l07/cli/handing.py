"""`l07 models export`: a model for a gateway, and the call that loads it."""

import argparse
import asyncio

from l07.cli.access import loaded, person
from l07.cli.console import Console
from l07.cli.things import all_views
from l07.cli.views import pick
from l07.errors import NothingByThatName


def export_model(args: argparse.Namespace, console: Console) -> int:
    """Raises NothingByThatName (E7903), and what `service.handing.hand_over` raises."""
    from l07.service.handing import Handover, hand_over

    settings = loaded(args).settings
    known = asyncio.run(all_views(settings))["models"]
    view = pick(known, args.id)
    if view is None:
        here = ", ".join(list(known)[-3:]) or "none yet"
        raise NothingByThatName(f"there is no model {args.id}; the newest are: {here}", id=args.id)
    name, _, version = str(view["id"]).rpartition(":")
    asked = Handover(
        name, version, args.to, args.gateway, person(), name=args.name, base=args.base, path=args.path, api_base=args.api_base,
        merged=args.merged, unsafe=args.unsafe, force=args.force,
    )  # fmt: skip
    said = asyncio.run(hand_over(asked, settings))
    if console.as_json:
        console.data(said)
        return 0
    where = said.get("output") or args.to
    console.line(
        f"{said['model']} for {said['for']} as {said['name']}: {where}"
        + (f" ({said['done']})" if "done" in said else "")
    )
    for call in said["call"]:
        console.line(call)
    return 0
