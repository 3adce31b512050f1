# shellcheck shell=bash
# Sourced by the scripts in this folder: messages, the repository root as current folder, cargo on PATH, the build folder.

say() { printf '%s\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# A relative build folder is meant from where the caller stands, so it is resolved before the change of folder.
target_dir=${CARGO_TARGET_DIR:-${CARGO_BUILD_TARGET_DIR:-}}
if [[ -n $target_dir ]]; then
  [[ $target_dir == /* ]] || target_dir=$PWD/$target_dir
  export CARGO_TARGET_DIR=$target_dir
fi

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
target_dir=${target_dir:-$PWD/target}

# The folder of the test tools (see script/bootstrap --tests).
# shellcheck disable=SC2034
tools_dir=$PWD/.onsale/tools/venv

# Sets $chromium and $chromedriver to a browser and its driver; fails where there is none that runs.
# shellcheck disable=SC2034
find_browser() {
  chromium=$(first_that_runs "${ONSALE_CHROMIUM:-}" chromium chromium-browser google-chrome) &&
    chromedriver=$(first_that_runs "${ONSALE_CHROMEDRIVER:-}" chromedriver chromium.chromedriver)
}

# first_that_runs NAMED DEFAULTS...: prints the path of the named program, or without one of the first default. To be
# there is not enough: Ubuntu has a chromium-browser that only says how to install it.
first_that_runs() {
  local named=$1 program
  shift
  [[ -z $named ]] || set -- "$named"
  for program in "$@"; do
    if "$program" --version >/dev/null 2>&1; then
      command -v "$program"
      return
    fi
  done
  return 1
}

# rustup puts cargo here, but only new login shells see it.
if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
  PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
  export PATH
fi
