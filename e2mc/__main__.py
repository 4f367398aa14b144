"""``python -m e2mc`` is the command ``e2mc``."""

from e2mc.cli import main

if __name__ == "__main__":
    main()
