#!/bin/sh
# The README's table: every method on every data set that lies beside the checkout. Run it again to
# go on where it was stopped; options are passed on, for example --memory 4 or --seeds 0.
set -eu
cd "$(dirname "$0")"
for suite in field texts wikipedia; do
    proxyhash bench "$suite.toml" --out "$suite" "$@"
done
