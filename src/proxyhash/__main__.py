"""Run the command line as `python -m proxyhash`, for where no script folder is on the path."""

from proxyhash.cli import main

if __name__ == "__main__":
    main()
