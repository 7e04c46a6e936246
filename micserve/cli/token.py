"""`micserve token …`: who may use this server, with which role and how much.

Works on the account file below MICSERVE_HOME itself, so it runs on the server,
as whoever owns that folder; a running gateway sees a change at once.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table

from micserve.accounts import AccountStore, AuditLog
from micserve.accounts.people import checked_role
from micserve.cli.console import err, out
from micserve.registry import RegistrySettings

commands = typer.Typer(no_args_is_help=True, help="People, their tokens, roles and limits.")

Who = Annotated[str, typer.Argument(help="Login name or e-mail address", metavar="PERSON")]


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="token")


@contextmanager
def _accounts() -> Iterator[tuple[AccountStore, AuditLog]]:
    folder = RegistrySettings().accounts_folder
    store = AccountStore(folder)
    try:
        yield store, AuditLog(folder)
    finally:
        store.close()


@commands.command()
def create(
    person: Who,
    role: Annotated[str | None, typer.Option(help="user, maintainer or admin")] = None,
    group: Annotated[list[str] | None, typer.Option(help="May be given several times")] = None,
    note: Annotated[str, typer.Option(help="What it is for: Fiji, a script")] = "",
    days: Annotated[int | None, typer.Option(help="How long it is good for")] = None,
    max_jobs: Annotated[int | None, typer.Option(min=0, help="Jobs at the same time")] = None,
    max_request_mib: Annotated[int | None, typer.Option(min=1, help="Largest request")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Rate")] = None,
) -> None:
    """Make a token, and the person if need be. The token is shown once."""
    with _accounts() as (store, audit):
        made = store.put_person(
            person,
            role=None if role is None else checked_role(role),
            groups=None if group is None else frozenset(group),
            max_jobs=max_jobs,
            max_request_mib=max_request_mib,
            requests_per_minute=requests_per_minute,
        )
        secret = store.make_token(person, note=note, days=days)
        audit.note(getpass.getuser(), "token.create", secret[:12], person=person, role=made.role)
    out.print(secret, soft_wrap=True)
    err.print(
        f"This is the token of {person} ({made.role}). It is not kept: copy it now. In scripts and "
        "Fiji it is sent as `Authorization: Bearer …`; on the page it is typed once.",
        soft_wrap=True,
    )


@commands.command("list")
def list_tokens(person: Annotated[str | None, typer.Argument(metavar="PERSON")] = None) -> None:
    """List tokens, newest first."""
    with _accounts() as (store, _):
        tokens = store.tokens(person)
    table = Table(box=None, pad_edge=False)
    for column in ("TOKEN", "PERSON", "NOTE", "CREATED (UTC)", "EXPIRES", "LAST USED", "STATE"):
        table.add_column(column, no_wrap=True)
    for one in tokens:
        dates = (f"{d:%Y-%m-%d %H:%M}" if d else "–" for d in (one.expires, one.last_used))
        state = "revoked" if one.revoked else "good"
        table.add_row(
            f"{one.id}…", one.person, one.note, f"{one.created:%Y-%m-%d %H:%M}", *dates, state
        )
    out.print(table)


@commands.command()
def revoke(token: Annotated[str, typer.Argument(help="Its beginning, as in the list")]) -> None:
    """End a token and every login that was made with it, at once."""
    with _accounts() as (store, audit):
        ended = store.revoke(token.rstrip("…"))
        audit.note(getpass.getuser(), "token.revoke", ended.id, person=ended.person)
    out.print(f"Token {ended.id}… of {ended.person} is revoked.")


@commands.command()
def people() -> None:
    """List people with roles, groups and limits of their own."""
    with _accounts() as (store, _):
        known = store.people()
    table = Table(box=None, pad_edge=False)
    for column in ("PERSON", "ROLE", "GROUPS", "JOBS", "REQUEST MIB", "REQUESTS/MIN"):
        table.add_column(column, no_wrap=True)
    for one in known:
        limits = (one.max_jobs, one.max_request_mib, one.requests_per_minute)
        cells = ("–" if limit is None else str(limit) for limit in limits)
        table.add_row(one.name, one.role, ", ".join(sorted(one.groups)) or "–", *cells)
    out.print(table)


@commands.command()
def remove(person: Who) -> None:
    """Remove a person with all tokens and logins. What they made stays."""
    with _accounts() as (store, audit):
        store.remove_person(person)
        audit.note(getpass.getuser(), "person.remove", person)
    out.print(f"{person} is removed.")


@commands.command()
def share(
    model: Annotated[str, typer.Argument(help="Name of a model", metavar="MODEL")],
    group: Annotated[list[str] | None, typer.Option(help="May be given several times")] = None,
) -> None:
    """Let only these groups see a model; all see it where no group is given."""
    groups = frozenset(group or ())
    with _accounts() as (store, audit):
        store.share_model(model, groups)
        audit.note(getpass.getuser(), "model.share", model, groups=sorted(groups))
    whose = "group " + ", ".join(sorted(groups)) if groups else "all"
    out.print(f"{model} now belongs to {whose}.")
