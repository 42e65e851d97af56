#!/usr/bin/env bash
# Installs Pressel from this folder, on the boot partition, at a device's first start.
#
#   first-boot.sh --enable    install a unit that runs this script at each boot until it has done its work
#   first-boot.sh             do the work: settle the clock, unpack the bundle, run its install.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
unit=pressel-first-boot.service
unit_file=/etc/systemd/system/$unit
work=/var/tmp/pressel-first-boot
clock_wait_s=${CLOCK_WAIT_S:-120}

enable() {
  # install.sh ends with 2 or 4 where trying again is of no use: wrong usage, wrong machine.
  cat >"$unit_file" <<EOF
[Unit]
Description=Install Pressel from the boot partition
Wants=network-online.target
After=network-online.target
ConditionPathExists=$here/first-boot.sh
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/bin/env bash $here/first-boot.sh
TimeoutStartSec=1h
Restart=on-failure
RestartSec=30
RestartPreventExitStatus=2 4

[Install]
WantedBy=multi-user.target
EOF
  systemctl daemon-reload
  systemctl enable "$unit"
}

# A Pi has no clock of its own, and neither Debian's archive nor TLS is believed before the time is right.
settle_clock() {
  local waited=0
  until [[ $(timedatectl show --property=NTPSynchronized --value) == yes ]]; do
    if ((waited >= clock_wait_s)); then
      echo "the clock is not set after $clock_wait_s s: going on, the time is $(date --utc +%FT%TZ)"
      return
    fi
    sleep 2
    waited=$((waited + 2))
  done
}

unpack() {
  local bundles=("$here"/pressel-*.tar.gz)
  if [[ ${#bundles[@]} -ne 1 || ! -f ${bundles[0]} ]]; then
    echo "no bundle, or more than one, in $here: write the card again with pressel-fleet media" >&2
    exit 4
  fi
  rm -rf "$work"
  mkdir -m 0700 "$work"
  tar --extract --gzip --no-same-owner --strip-components=1 --directory "$work" --file "${bundles[0]}"
}

# They are used up here; the hashes tell `pressel-fleet media` not to write the same ones again.
remember() {
  local file
  for file in "$here/token" "$here/claim.json"; do
    if [[ -f $file ]]; then sha256sum <"$file" | cut --delimiter=' ' --fields=1 >"$file.sha256"; fi
  done
}

run_installer() {
  # Not started: mixer, groups and watchdog are all there after the restart that ends this.
  local arguments=(--board "$(<"$here/board")" --config "$here/config.toml" --no-start)
  if [[ -f $here/claim.json ]]; then arguments+=(--claim "$here/claim.json"); fi
  if [[ -f $here/token ]]; then arguments+=(--token-file "$here/token"); fi
  bash "$work/install.sh" "${arguments[@]}"
}

# FAT may keep the old clusters all the same; the claim and the token are there for one start only.
wipe() {
  local file
  # The hidden ones: what a card has that was pulled while it was written.
  for file in "$here"/{token,claim.json,.token.new,.claim.json.new}; do
    if [[ -f $file ]]; then shred --iterations=1 --remove "$file"; fi
  done
}

finish() {
  wipe
  rm -rf "$work"
  systemctl disable "$unit"
  rm -f "$unit_file"
  echo "done: restarting"
  sync
  systemctl reboot
}

main() {
  echo "$(date --utc +%FT%TZ) installing Pressel from $here"
  settle_clock
  unpack
  remember
  run_installer
  finish
}

if [[ ${1:-} == --enable ]]; then
  enable
else
  # The last try's story stays on the card, where a PC can read it when the device cannot be reached.
  main 2>&1 | tee "$here/first-boot.log"
fi
