"""The commands and their options. Each is done by the module of its name, loaded when it is called."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from langchain_openrouter_free.cli.output import drop_output, log_shown
from langchain_openrouter_free.cli.start import Options, is_blind

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    """The commands; a mistake in their words is told as JSON where that was asked for."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **how: Any) -> Any:
        said = sys.argv[1:] if args is None else args
        if "--json" not in said or not how.get("standalone_mode", True):
            return super().main(args, *more, **how)
        try:
            ended = super().main(args, *more, **{**how, "standalone_mode": False})
        except _UsageError as error:
            ended = 2
            with contextlib.suppress(typer.Exit):
                Options(as_json=True).output().fail("UsageError", error.format_message(), ended)  # type: ignore[attr-defined]
        sys.exit(ended if isinstance(ended, int) else 0)


app = typer.Typer(
    name="openrouter-free",
    cls=_Commands,
    help="OpenRouter's free models for LangChain: set up, looked at, tried out.",
    epilog="Exit codes: 0 all is well; 1 something is not, or nobody answered; 2 wrong use or configuration; "
    "3 a key is needed; 4 an extra is needed; 130 interrupted. Every command takes --json.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="Use a named profile of the configuration.")]
Dotenv = Annotated[str | None, typer.Option("--dotenv", help="Read this .env file as well.", metavar="FILE")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Tools = Annotated[bool, typer.Option("--tools", help="The request has tools.")]
Image = Annotated[bool, typer.Option("--image", help="The request has an image.")]
Structured = Annotated[bool, typer.Option("--structured", help="The request asks for structured output.")]

# What these tell is wrong where the state cannot be used: a warning says so to people, the exit code to scripts.
_OF_BOOKS = {"budget", "explain", "models", "quota", "report", "reset", "route", "watch"}


def run(command: str, options: Options, **arguments: Any) -> None:
    """Do a command, and turn its failures into words and exit codes."""
    from langchain_openrouter_free.errors import ConfigurationError, OpenRouterFreeError  # noqa: PLC0415 - for --help

    out = options.output()
    try:
        with log_shown(out):
            import_module(f"langchain_openrouter_free.cli.{command}").run(options, **arguments)
        sys.stdout.flush()
        if command in _OF_BOOKS and is_blind(options):
            out.leave(1)
    except ConfigurationError as error:
        out.fail(type(error).__name__, str(error), 2)
    except OpenRouterFreeError as error:
        out.fail(type(error).__name__, str(error), 1)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # who reads has seen enough
        drop_output()
        raise typer.Exit(0) from None
    except OSError as error:
        try:
            out.fail(type(error).__name__, str(error), 1)
        except OSError:  # it is standard output itself that takes nothing
            out.note(f"error: {error}", "red")
            raise typer.Exit(1) from None
        finally:
            drop_output()


def _version(wanted: bool) -> None:
    if wanted:
        from langchain_openrouter_free import __version__  # noqa: PLC0415 - slow for --help

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    as_json: Json = False,
    pyproject: Annotated[bool, typer.Option("--pyproject", help="Append to pyproject.toml instead.")] = False,
    user: Annotated[bool, typer.Option("--user", help="Write the user's own file instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write it though there is a file.")] = False,
) -> None:
    """Write a commented configuration: openrouter-free.toml in this folder."""
    run("init", Options(as_json), pyproject=pyproject, user=user, force=force)


@app.command()
def config(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is left at its default, too.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the file.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Say that you mean what the project's file says.")] = False,
    yes: Yes = False,
) -> None:
    """Show the effective settings, and where each came from."""
    options = Options(as_json, profile, dotenv)
    run("config", options, everything=everything, schema=schema, trusts=trust, yes=yes)


@app.command()
def doctor(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of the network.")] = False,
) -> None:
    """Check key, network, clock, state, privacy and the configured ids; tell each remedy."""
    run("doctor", Options(as_json, profile, dotenv), offline=offline)


@app.command()
def models(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch the service's list first.")] = False,
    usable: Annotated[bool, typer.Option("--usable", help="Only those that would be asked now.")] = False,
) -> None:
    """Show the free models in their order: usable or why not, abilities, health, cooldown, expiry."""
    run("models", Options(as_json, profile, dotenv), refresh=refresh, usable=usable)


@app.command()
def explain(
    prompt: Annotated[str, typer.Argument(help="What would be asked.")] = "hello",
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    tools: Tools = False,
    image: Image = False,
    structured: Structured = False,
    sensitive: Annotated[bool, typer.Option("--sensitive", help="The call may go to no free model.")] = False,
) -> None:
    """Tell who would be asked in which order, and why the others not; without a request."""
    wish = {"tools": tools, "image": image, "structured": structured, "sensitive": sensitive}
    run("explain", Options(as_json, profile, dotenv), prompt=prompt, **wish)


@app.command()
def quota(as_json: Json = False, profile: Profile = None, dotenv: Dotenv = None) -> None:
    """Show what is used of the minute and the day, when they reset, and by which project."""
    run("quota", Options(as_json, profile, dotenv))


@app.command()
def budget(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    reconcile: Annotated[bool, typer.Option("--reconcile", help="Ask what answers in dispute cost.")] = False,
) -> None:
    """Show what is spent, reserved and left, by window, day and model."""
    run("budget", Options(as_json, profile, dotenv), reconcile=reconcile)


@app.command()
def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; without it, one line after another.")] = None,
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Ask this model alone.")] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="What the model is told first.")] = None,
) -> None:
    """Talk to the models: the answer as it comes, who gives it, and each move."""
    run("chat", Options(as_json, profile, dotenv), prompt=prompt, pinned=model, system=system)


@app.command()
def route(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many calls.")] = 10,
    project: Annotated[str | None, typer.Option("--project", help="Only this project's calls.")] = None,
) -> None:
    """Show the last calls with their attempts."""
    run("route", Options(as_json, profile, dotenv), last=last, project=project)


@app.command()
def watch(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, max=86_400, help="Seconds between two looks.")
    ] = 2.0,
    count: Annotated[int | None, typer.Option("--count", min=1, help="So many looks; without a terminal 1.")] = None,
) -> None:
    """Watch models, quota, spending and the last calls as they change."""
    run("watch", Options(as_json, profile, dotenv), interval=interval, count=count)


@app.command()
def report(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    since: Annotated[str, typer.Option("--since", help="How far back: 12h, 7d, 2w, or a date.")] = "7d",
    output: Annotated[str, typer.Option("--output", "-o", help="The page; - for standard output.")] = "report.html",
    project: Annotated[str | None, typer.Option("--project", help="Only this project's calls.")] = None,
) -> None:
    """Write one page: answers, moves, speed, quota, spending, cooldowns, delistings. With --json its figures."""
    run("report", Options(as_json, profile, dotenv), since=since, output=output, project=project)


@app.command()
def serve(
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    host: Annotated[str, typer.Option(help="Address to listen on; another machine's needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8788,
    token: Annotated[
        str | None,
        typer.Option(help="What clients must send as their key.", envvar="OPENROUTER_FREE_TOKEN", show_envvar=True),
    ] = None,
    origin: Annotated[list[str] | None, typer.Option(help="A web page that may ask; may be repeated.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name of this machine.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; they share the state.", min=1, max=64)] = 1,
    max_body: Annotated[int, typer.Option(help="Largest request, in MiB.", min=1, max=1024)] = 32,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve OpenAI's dialect on this machine, for programs that take a base URL."""
    run(
        "serve",
        Options(as_json, profile, dotenv),
        host=host,
        port=port,
        token=token,
        origins=origin or [],
        hosts=allow_host or [],
        workers=workers,
        max_body=max_body,
        log_level=log_level,
    )


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="A bundled scenario, or a TOML file.")] = "calm",
    as_json: Json = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8787,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Show scenarios and behaviours.")] = False,
) -> None:
    """Run a simulated OpenRouter on this machine: no key, no network, no cost."""
    run("simulate", Options(as_json), scenario=scenario, host=host, port=port, seed=seed, listed=listed)


@app.command()
def demo(
    as_json: Json = False,
    live: Annotated[bool, typer.Option("--live", help="Ask the real service (about ten free requests).")] = False,
) -> None:
    """Play a bad hour on the simulated service: a chain, a stream, a tool, structured output."""
    run("demo", Options(as_json), live=live)


@app.command()
def reset(
    what: Annotated[str, typer.Argument(help="cooldowns, or state: quota, cooldowns, spending, history.")],
    as_json: Json = False,
    profile: Profile = None,
    dotenv: Dotenv = None,
    yes: Yes = False,
) -> None:
    """Forget the cooldowns, or the whole state; asks first."""
    run("reset", Options(as_json, profile, dotenv), what=what, yes=yes)


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")],
    as_json: Json = False,
) -> None:
    """Print the completion script of a shell: eval "$(openrouter-free completion bash)"."""
    run("completion", Options(as_json), shell=shell)
