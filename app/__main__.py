"""`python -m app` and the command export-service."""

from app.bootstrap import build_cli


def main() -> None:
    """Run the command line."""
    build_cli()()


if __name__ == "__main__":
    main()
