#!/bin/sh
# Make sure that a Chromium is there for the tests that open the report in one.
# Usage: chromium.sh BIN, where BIN is the environment's bin folder.
set -e
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
else
  "$1/playwright" install chromium
fi
