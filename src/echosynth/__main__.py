"""The command, also as `python -m echosynth`, and so `accelerate launch -m echosynth run ...`."""

from echosynth import interrupts


def main() -> None:
    """The entry point. Ctrl-C is heard before anything large is imported, so that it never ends in a traceback."""
    interrupts.watch()
    try:
        from echosynth import cli
    except KeyboardInterrupt:
        interrupts.say()
        interrupts.leave(interrupts.exit_code())
    cli.main()


if __name__ == "__main__":
    main()
