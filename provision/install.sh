#!/usr/bin/env bash
# Installs, updates, rolls back and removes Pressel on a Debian or Raspberry Pi OS machine. It lies in the bundle
# beside wheels/ and systemd/, needs no network when the Debian packages are there, and may be run again at any
# time: what is as it should be is left alone. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: install.sh [options]        install or update from the bundle that this script lies in
       install.sh --rollback       go back to the release before
       install.sh --reset          forget identity, token and state; keep release and settings
       install.sh --uninstall      remove all but settings and state; with --purge these too
       install.sh --status [--json]

  --board NAME|FOLDER   one of the boards in the bundle, or a folder with a board.toml (needed the first time)
  --config FILE         becomes /etc/pressel/config.toml
  --claim FILE          a claim from `pressel-companion claims new --out FILE`: the device enrols with it
  --token-file FILE     a plain token, for a companion without enrolment
  --dry-run             say what would change, change nothing
  --no-start            leave the service as it is
  --no-packages         leave Debian's packages as they are
  --gate SECONDS        how long a new release must be healthy, 0: no gate (default 60)

examples:
  sudo ./install.sh --board i2s-mems-pair --config config.toml --claim claim.json
  sudo ./install.sh --dry-run
  sudo /opt/pressel/install.sh --rollback

exit status: 0 done; 1 failed; 2 usage; 3 the new release failed its gate, the one before runs again;
4 refused: wrong machine, not root, damaged bundle, a clash in config.txt, bad settings. What runs was not touched.
TEXT
}

OPT=/opt/pressel ETC=/etc/pressel STATE=/var/lib/pressel
SETTINGS=(board.toml config.toml mixer credentials/token)
BACKUP_SUFFIX=.before-pressel
REBOOT=/run/pressel-reboot-needed
UNITS=(pressel.service pressel-trial.service pressel-mixer.service)
here=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
action=install board='' config='' claim='' token='' dry='' start=yes packages=yes gate=60 json='' purge=''
changes=0 restart='' reboot='' scratch='' unfinished=''

# --- saying

note() { printf '%s\n' "$*"; }
die() { local status=$1; shift; printf 'install.sh: %s\n' "$*" >&2; exit "$status"; }

# changed WHAT: counts and tells a change; true when it is to be made, false in a dry run.
changed() {
  changes=$((changes + 1))
  if [ -n "$dry" ]; then note "would change $*"; return 1; fi
  note "changed $*"
}

total() {
  case $changes in
    0) note "nothing to change" ;;
    1) note "1 change" ;;
    *) note "$changes changes" ;;
  esac
  if reboot_needed; then note "reboot needed: config.txt"; fi
}

# watch PID STATE: waits for it; on a terminal with a bar, of the percentage and words that the function STATE prints.
watch() {
  local percent words bar
  if [ -t 1 ]; then
    while kill -0 "$1" 2>/dev/null; do
      read -r percent words < <("$2") || true
      printf -v bar '%*s' $((${percent:-0} / 5)) ''
      printf '\r  [%-20s] %-50.50s' "${bar// /#}" "$words"
      sleep 0.5
    done
    printf '\r%75s\r' ''
  fi
  wait "$1"
}

# --- files

# put MODE OWNER SOURCE TARGET: copies by rename, when content, mode or owner differ.
put() {
  local mode=$1 owner=$2 source=$3 target=$4
  if cmp -s "$source" "$target" && [ "$(stat -c '%a %U:%G' "$target")" = "$mode $owner" ]; then return; fi
  restart=yes
  changed "$target" || return 0
  begin_trial
  folder "$(dirname "$target")"
  install -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$source" "$target.new"
  sync "$target.new"
  mv -T "$target.new" "$target"
}

# folder PATH: makes it and its parents, and remembers which were not there.
folder() {
  [ -d "$1" ] && return
  folder "$(dirname "$1")"
  mkdir "$1"
  echo "$1" >>"$OPT/folders"
}

drop() {
  [ -e "$1" ] || [ -L "$1" ] || return 0
  restart=yes
  if changed "$1: removed"; then rm -rf "$1"; fi
}

link() {
  ln -sfnT "$1" "$2.new"
  mv -T "$2.new" "$2"
}

# Its mark goes first: half of a release is none.
scrap() {
  rm -f "${1:?}/.complete"
  rm -rf "$1"
}

version_of() { basename "$(readlink "$OPT/$1" 2>/dev/null || true)"; }
complete() { [ -n "$1" ] && [ -f "$OPT/releases/$1/.complete" ]; }
systemd_runs() { [ -d /run/systemd/system ]; }
config_txt() { local f; for f in /boot/firmware/config.txt /boot/config.txt; do [ -f "$f" ] && echo "$f" && return; done; }
kit() { PYTHONPATH=$wheel python3 -m provision.kit "$@"; }
site_packages() { echo "$OPT/releases/$1"/lib/python3*/site-packages; }
reboot_needed() { [ -n "$reboot" ] || [ -e "$REBOOT" ]; }
user_home() { { getent passwd pressel || true; } | cut -d : -f 6; }
# The daemon's own last words.
why_down() {
  journalctl -q -u pressel -t pressel -n 1 -o cat 2>/dev/null | sed 's/^pressel: //' | grep . ||
    echo "see journalctl -u pressel"
}

# --- before anything is changed

check_machine() {
  local arch python home
  [ -f "$here/bundle.json" ] || die 2 "no bundle beside $here/install.sh: unpack pressel-….tar.gz and run the one in it"
  command -v python3 >/dev/null || die 4 "python3 is missing: apt-get install python3"
  (cd "$here" && sha256sum --check --strict --quiet SHA256SUMS) >"$scratch/sums" 2>&1 ||
    die 4 "the bundle is damaged ($(head -n 1 "$scratch/sums")): copy it again"
  arch=$(bundle arch)
  [ "$(uname -m)" = "$arch" ] || die 4 "this bundle is for $arch, this machine is $(uname -m): take the bundle for it"
  # A Pi's 64-bit kernel runs under 32-bit systems too.
  [ "$(getconf LONG_BIT)" = 64 ] || die 4 "this system is a 32-bit one: write the card with the 64-bit image"
  python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  bundle pythons | grep -x "$python" >/dev/null || # not -q: it would hang up on python
    die 4 "Python $python is not in this bundle ($(bundle pythons | xargs)): use Raspberry Pi OS Bookworm or Trixie"
  home=$(user_home)
  [ -z "$home" ] || [ "$home" = "$STATE" ] ||
    die 4 "there is an account \"pressel\" with the home $home: the service needs that name, so rename that account"
}

bundle() {
  python3 -c 'import json, sys; v = json.load(open(sys.argv[1]))[sys.argv[2]]
print(*([v] if isinstance(v, str) else v), sep="\n")' "$here/bundle.json" "$1"
}

# The board's files, into $scratch; a board of the owner's own that is installed already stays.
check_board() {
  if [ -z "$board" ] && [ -f "$ETC/board.toml" ]; then
    board=$(kit name "$ETC/board.toml") || die 4 "$ETC/board.toml cannot be read: name the board with --board"
    if ! kit board "$board" "$scratch" 2>/dev/null; then
      mkdir "$scratch/own"
      cp "$ETC/board.toml" "$scratch/own/"
      board=$scratch/own
    fi
  fi
  [ -n "$board" ] || die 2 "which board? --board NAME ($(kit board '' "$scratch" 2>&1 | sed 's/.*: //'))"
  kit board "$board" "$scratch" 2>"$scratch/why" || die 4 "$(cat "$scratch/why")"
}

check_config_txt() {
  local file
  file=$(config_txt) || return 0
  kit config-txt "$file" "$scratch/config_txt" >"$scratch/config.txt.new" 2>"$scratch/why" ||
    die 4 "${file%/*}/$(cat "$scratch/why")"
}

check_files() {
  local file
  for file in "$config" "$claim" "$token"; do
    [ -z "$file" ] || [ -r "$file" ] || die 2 "$file is missing or cannot be read"
  done
  release=$OPT/releases/$version
  if complete "$version" && [ "$(cat "$release/.complete")" != "$(build_id)" ]; then
    [ "$version" != "$(version_of current)" ] ||
      die 4 "release $version is in use and was made from another bundle: build this one with another --version"
  fi
}

build_id() { sha256sum <"$here/SHA256SUMS" | cut -d ' ' -f 1; }

# Twice what the release takes: pip unpacks beside it. Wheels grow about threefold, bytecode included.
check_space() {
  local need have
  complete "$version" && return
  need=$(($(du -sb "$here/wheels" | cut -f 1) * 6))
  have=$(df --output=avail -B1 "$(dirname $OPT)" | tail -n 1)
  [ "$have" -ge "$need" ] || die 4 "$((have / 1000000)) MB are free below $OPT, $((need / 1000000)) MB are needed: make room"
}

# --- steps; each looks first

install_packages() {
  local wanted=(python3-venv python3-pyaudio alsa-utils) missing=() package
  # On 3.11 the GPIO library is in the wheels; for newer Pythons there is none, and the Pi's archive has it.
  if config_txt >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
    wanted+=(python3-rpi-lgpio)
  fi
  [ -n "$packages" ] || return 0
  for package in "${wanted[@]}"; do installed "$package" || missing+=("$package"); done
  [ "${#missing[@]}" -gt 0 ] || return 0
  changed "packages: ${missing[*]}" || return 0
  apt_install "${missing[@]}" && return
  brought >"$OPT/packages.new"
  mv "$OPT/packages.new" "$OPT/packages"
  die 1 "apt-get cannot install ${missing[*]} ($(grep -m 1 '^E:' "$scratch/apt" || tail -n 1 "$scratch/apt")):
  connect this machine to the network, or mend what apt-get names, and run this again; or install them by hand and add
  --no-packages (python3-rpi-lgpio is in Raspberry Pi's archive alone)"
}

installed() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -x '.* installed' >/dev/null; }

# What apt brought for us, as far as it is there.
brought() {
  local package
  [ -f "$OPT/packages" ] || return 0
  sort -u "$OPT/packages" | while read -r package; do if installed "$package"; then echo "$package"; fi; done
}

apt_install() {
  : >"$scratch/apt"
  dpkg --configure -a >/dev/null 2>&1 9>&- || true
  apt_try "$@" && return
  apt_get update || true
  apt_try "$@"
}

# What apt is going to bring is noted before: power may fail in between.
apt_try() {
  apt_get -s install --no-install-recommends "$@" || return
  sed -n 's/^Inst \([^ ]*\) (.*/\1/p' "$scratch/apt" >>"$OPT/packages"
  apt_get install --no-install-recommends "$@" &
  watch $! apt_state
}

# Another apt, at a first start for instance, is waited for.
apt_get() {
  LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o APT::Status-Fd=8 "$@" \
    >"$scratch/apt" 2>&1 8>"$scratch/percent" 9>&-
}

apt_state() { tail -n 1 "$scratch/percent" | sed -n 's/^[a-z]*:[^:]*:\([0-9]*\)[^:]*:/\1 /p'; }

# A release without .complete is no release: it is made again, and nothing ever links to it.
make_release() {
  complete "$version" && [ "$(cat "$release/.complete")" = "$(build_id)" ] && return
  changed "release $version" || return 0
  scrap "$release"
  folder "$OPT/releases"
  unfinished=$release
  python3 -m venv --system-site-packages --without-pip "$release" >"$scratch/pip" 2>&1 ||
    die 1 "python3 -m venv failed: $(tail -n 1 "$scratch/pip")"
  PYTHONPATH=$(pip_wheel) "$release/bin/python" -m pip install --isolated --disable-pip-version-check \
    --no-index --find-links "$here/wheels" --require-hashes --no-deps -r "$here/requirements.txt" >"$scratch/pip" 2>&1 &
  watch $! pip_state ||
    die 1 "the wheels cannot be installed: $(grep -m 1 ERROR "$scratch/pip" || tail -n 1 "$scratch/pip")"
  cp -r "$here/systemd" "$release/"
  [ ! -d "$here/overlays" ] || cp -r "$here/overlays" "$release/"
  "$release/bin/pressel" --help >/dev/null 2>"$scratch/pip" ||
    die 1 "release $version does not start on this machine: $(tail -n 1 "$scratch/pip")"
  sync -f "$release"
  build_id >"$release/.complete"
  sync "$release/.complete"
  unfinished=''
}

# Debian's own pip, which python3-venv brings: a release needs none of its own, nor the time to unpack one.
pip_wheel() { find /usr/share/python-wheels -name 'pip-*.whl' 2>/dev/null | tail -n 1; }

# The packages that are there, of those that the lock file names for some Python.
pip_state() {
  local all there
  all=$(find "$here/wheels" -name '*.whl' -printf '%f\n' | cut -d - -f 1 | sort -u | wc -l)
  there=$(find "$release/lib" -maxdepth 3 -name '*.dist-info' | wc -l)
  echo "$((there * 100 / all)) $there of $all packages"
}

# Without the owner's file the board is checked all the same.
check_config() {
  local file=${config:-$ETC/config.toml}
  [ -x "$release/bin/pressel" ] || return 0
  if [ ! -f "$file" ]; then
    file=$scratch/any.toml
    printf '[backend]\nurl = "https://companion.example"\n' >"$file"
  fi
  "$release/bin/pressel" config --config "$file" --board "$scratch/board.toml" --json >/dev/null 2>"$scratch/why" ||
    die 4 "$(tail -n 1 "$scratch/why" | sed "s/^pressel: //; s|$scratch/||") (release $version was not switched to)"
}

# Before the first file of a device that runs is touched. From here to the end of the gate a power cut leads back
# to what is kept here; see do_settle.
begin_trial() {
  local file
  if [ -e "$OPT/trial" ] || [ "$action" = reset ]; then return; fi
  rm -rf "$OPT/before"
  mkdir -m 700 "$OPT/before"
  for file in "${SETTINGS[@]}"; do [ ! -f "$ETC/$file" ] || cp -a "$ETC/$file" "$OPT/before/"; done
  if file=$(config_txt); then
    sed -n '/^# >>> pressel/,/^# <<< pressel/p' "$file" | sed '1,2d; $d' >"$OPT/before/config_txt"
  fi
  version_of current >"$OPT/trial.new"
  sync -f "$OPT"
  mv -T "$OPT/trial.new" "$OPT/trial"
  sync "$OPT" # config.txt is on another file system, which must not be ahead of this
}

put_settings() {
  put 644 root:root "$scratch/board.toml" "$ETC/board.toml"
  [ -z "$config" ] || put 644 root:root "$config" "$ETC/config.toml"
  if [ -s "$scratch/mixer" ]; then
    put 755 root:root "$scratch/mixer" "$ETC/mixer"
  else
    drop "$ETC/mixer"
  fi
  [ -z "$token" ] || put 600 root:root "$token" "$ETC/credentials/token"
}

put_boot_files() {
  local file name overlay before=$changes
  file=$(config_txt) || { note "skipped config.txt: this machine has none, so it is no Raspberry Pi"; return 0; }
  while read -r name; do
    overlay=$(dirname "$file")/overlays/$name.dtbo
    [ -f "$release/overlays/$name.dtbo" ] || continue
    put 755 root:root "$release/overlays/$name.dtbo" "$overlay"
    [ -n "$dry" ] || grep -sqxF "$overlay" "$OPT/overlays" || echo "$overlay" >>"$OPT/overlays"
  done < <(sed -n 's/^dtoverlay=\([^,]*\).*/\1/p' "$scratch/config_txt")
  if ! cmp -s "$scratch/config.txt.new" "$file" && changed "$file"; then
    begin_trial
    [ -f "$file$BACKUP_SUFFIX" ] || replace_on_fat "$file" "$file$BACKUP_SUFFIX"
    replace_on_fat "$scratch/config.txt.new" "$file"
  fi
  [ $changes -eq $before ] && return
  reboot=yes
  [ -n "$dry" ] || touch "$REBOOT"
}

replace_on_fat() {
  cp "$1" "$2.new"
  sync -f "$2.new"
  mv -T "$2.new" "$2"
  sync -f "$2"
}

# Units, users and folders are the release's own: they change and go back with it.
put_units() {
  local from=$OPT/releases/$1/systemd file before=$changes
  [ -d "$from" ] || from=$here/systemd
  for file in "$from"/*.service; do put 644 root:root "$file" "/usr/local/lib/systemd/system/${file##*/}"; done
  for file in "$from"/{sysusers,tmpfiles}.d/*; do put 644 root:root "$file" "/usr/local/lib/${file#"$from/"}"; done
  for file in "$from"/system.conf.d/*; do put 644 root:root "$file" "/etc/systemd/${file#"$from/"}"; done
  [ -n "$dry" ] || [ $changes -eq $before ] || ! systemd_runs || systemctl daemon-reload
  before=$changes
  for file in "$from"/journald.conf.d/*; do put 644 root:root "$file" "/etc/systemd/${file#"$from/"}"; done
  [ -n "$dry" ] || [ $changes -eq $before ] || restart_journal
  put_user
  for file in "${UNITS[@]}"; do
    systemctl is-enabled --quiet "$file" 2>/dev/null || ! changed "$file: enabled" || systemctl --quiet enable "$file"
  done
}

# Restarted, it still writes to memory where it did before; the flush takes it, and what it has, to the card.
restart_journal() { ! systemd_runs || { systemctl try-restart systemd-journald && journalctl --flush; }; }

put_user() {
  local group
  if [ -n "$(user_home)" ] || changed "user pressel"; then
    [ -n "$dry" ] || systemd-sysusers pressel.conf 2>"$scratch/why" || die 1 "$(tail -n 1 "$scratch/why")"
  fi
  for group in gpio spi; do
    if getent group $group >/dev/null && ! id -nG pressel 2>/dev/null | grep -w $group >/dev/null; then
      ! changed "user pressel: in group $group" || usermod -aG $group pressel
    fi
  done
  [ -n "$dry" ] || systemd-tmpfiles --create pressel.conf
}

switch_to() {
  [ "$(version_of current)" = "$1" ] && return
  restart=yes
  changed "current: release $1" || return 0
  begin_trial
  complete "$1" || die 1 "release $1 is not complete"
  link "releases/$1" "$OPT/current"
  sync -f "$OPT"
}

put_claim() {
  local from=${claim:-/boot/firmware/pressel/claim.json} id
  [ -s "$from" ] || return 0
  id=$(sha256sum <"$from" | cut -d ' ' -f 1)
  # One that was placed before has been used, or is waiting: it is not placed twice.
  if [ "$id" != "$(cat "$OPT/claim.sha256" 2>/dev/null)" ]; then
    put 600 pressel:pressel "$from" "$STATE/claim.json"
    [ -n "$dry" ] || echo "$id" >"$OPT/claim.sha256"
  fi
  case $(readlink -f "$from") in
    /boot/*) [ -n "$dry" ] || shred --iterations=1 --remove "$from" ;;
  esac
}

put_command() {
  put 755 root:root "$here/install.sh" "$OPT/install.sh"
  [ "$(readlink /usr/local/bin/pressel)" = "$OPT/current/bin/pressel" ] && return
  if changed /usr/local/bin/pressel; then link "$OPT/current/bin/pressel" /usr/local/bin/pressel; fi
}

# --- trial

# Starts what is current and decides; ends the script with 3 when it went back.
try_it() {
  if [ -z "$start" ]; then note "skipped start and gate: --no-start"; pass; return; fi
  if ! systemd_runs; then note "skipped start and gate: systemd does not run here"; pass; return; fi
  if [ ! -f "$ETC/config.toml" ] && { [ -z "$dry" ] || [ -z "$config" ]; }; then
    note "not started: $ETC/config.toml is missing; write it and run this again, or give it with --config"
    pass; return
  fi
  if reboot_needed; then note "not started: that is for after the reboot"; [ "$gate" -ne 0 ] || pass; return; fi
  if [ -z "$restart" ] && [ ! -e "$OPT/trial" ] && systemctl is-active --quiet pressel; then return; fi
  changed "pressel.service: started" || return 0
  if healthy; then pass; else back; fi
}

healthy() {
  systemctl restart pressel-mixer 2>/dev/null || note "the mixer could not be set (journalctl -u pressel-mixer)"
  systemctl restart pressel 2>/dev/null || { note "the service did not become ready: $(why_down)"; return 1; }
  [ "$gate" -eq 0 ] && return
  note "gate: $gate s"
  "$OPT/current/bin/pressel" gate --seconds "$gate"
}

pass() {
  local was
  if [ -n "$dry" ] || [ ! -e "$OPT/trial" ]; then return; fi
  was=$(cat "$OPT/trial")
  if complete "$was" && [ "$was" != "$(version_of current)" ]; then link "releases/$was" "$OPT/previous"; fi
  sync -f "$OPT"
  rm -rf "$OPT/trial" "$OPT/before"
  prune
}

back() {
  local was now
  [ -e "$OPT/trial" ] || die 1 "pressel is not as it should be, and nothing was changed that could be taken back"
  was=$(cat "$OPT/trial") now=$(version_of current)
  if ! complete "$was"; then
    rm -rf "$OPT/trial" "$OPT/before"
    die 1 "release $now failed its gate, and there is none before it to go back to: it stays (journalctl -u pressel)"
  fi
  put_settings_back "$was"
  switch_to "$was"
  put_units "$was"
  sync -f "$OPT"
  rm -rf "$OPT/trial" "$OPT/before"
  if [ "$action" = settle ] && [ -n "$reboot" ]; then
    systemctl --no-block reboot # nobody is there to do it, and the sound card of before is not there yet
  else
    systemctl restart pressel 2>/dev/null || true
  fi
  if [ "$was" = "$now" ]; then die 3 "the new settings failed the gate: those before are back"; fi
  die 3 "release $now failed its gate: $was runs again, with the settings that it had"
}

# What begin_trial kept becomes what is wanted, and is put like any other.
put_settings_back() {
  release=$OPT/releases/$1 wheel=$(site_packages "$1") config='' token=''
  [ -f "$OPT/before/board.toml" ] || return 0
  rm -f "$scratch"/{mixer,config_txt,config.toml,token}
  cp -a "$OPT/before/." "$scratch/"
  [ ! -f "$scratch/config.toml" ] || config=$scratch/config.toml
  if [ -f "$scratch/token" ]; then token=$scratch/token; else drop "$ETC/credentials/token"; fi
  put_settings
  config_txt >/dev/null || return 0
  # Whatever has become of config.txt meanwhile, the rest goes back.
  (check_config_txt) || cp "$(config_txt)" "$scratch/config.txt.new"
  put_boot_files
}

# Keeps three: current, previous, and the newest of the others.
prune() {
  local kept=0 name
  while read -r name; do
    [ "$name" = "$(version_of current)" ] || [ "$name" = "$(version_of previous)" ] && continue
    kept=$((kept + 1))
    [ $kept -le 1 ] || scrap "$OPT/releases/$name"
  done < <(find "$OPT/releases" -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' | sort -rn | cut -d ' ' -f 2)
}

# --- what the script is called for

do_install() {
  check_machine
  version=$(bundle version) wheel=$(echo "$here"/wheels/pressel-*.whl)
  check_board
  check_config_txt
  check_files
  check_space
  [ -n "$dry" ] || mkdir -p "$OPT"
  install_packages
  make_release
  take_into_use
  put_claim
  put_command
  try_it
  total
}

take_into_use() {
  check_config
  put_settings
  put_boot_files
  switch_to "$version"
  put_units "$version"
}

# The board's files go back too: each release has its own. While one is on trial, the one before is the trial's.
do_rollback() {
  version=$(cat "$OPT/trial" 2>/dev/null || version_of previous)
  complete "$version" || die 1 "there is no other release to go back to"
  release=$OPT/releases/$version wheel=$(site_packages "$version")
  check_board
  check_config_txt
  take_into_use
  try_it
  total
}

# At boot, after an update that did not come to its end.
do_settle() {
  [ -e "$OPT/trial" ] || { note "nothing is on trial"; return; }
  put_units "$(version_of current)"
  note "release $(version_of current) is on trial"
  restart=yes
  try_it
}

do_reset() {
  changed "identity, token, claim and state: removed" || { total; return; }
  ! systemd_runs || systemctl stop pressel
  find "$STATE" -mindepth 1 -delete
  rm -f "$ETC/credentials/token" "$OPT/claim.sha256"
  put_claim
  if systemd_runs && [ -n "$start" ]; then
    systemctl start pressel 2>/dev/null || note "pressel does not run: $(why_down)"
  fi
  total
}

do_status() {
  local state=unknown trial=false reboot=false enrolled=false
  if systemd_runs; then state=$(systemctl is-active pressel 2>/dev/null || true); fi
  [ ! -e "$OPT/trial" ] || trial=true
  [ ! -e "$REBOOT" ] || reboot=true
  [ ! -e "$STATE/identity.json" ] || enrolled=true
  local form='version %s\nprevious %s\nservice %s\non trial %s\nreboot needed %s\nenrolled %s\nreleases %s\n'
  [ -z "$json" ] || form='{"version":"%s","previous":"%s","service":"%s","trial":%s,"reboot_needed":%s,"enrolled":%s,"releases":[%s]}\n'
  # shellcheck disable=SC2059 # one of the two forms above
  printf "$form" "$(version_of current)" "$(version_of previous)" "$state" "$trial" "$reboot" "$enrolled" "$(releases)"
  [ -n "$json" ] || [ "$state" != failed ] || note "it does not run: $(why_down)"
}

releases() {
  local quote=${json:+\"} all
  all=$(find "$OPT/releases" -mindepth 2 -maxdepth 2 -name .complete -printf "$quote%h$quote\n" 2>/dev/null | sed "s|$OPT/releases/||" | sort)
  echo "$all" | paste -sd ,
}

do_uninstall() {
  local file
  if [ -z "$dry" ]; then
    ! systemd_runs || systemctl stop pressel pressel-trial pressel-mixer 2>/dev/null || true
    for file in "${UNITS[@]}"; do systemctl --quiet disable "$file" 2>/dev/null || true; done
  fi
  remove_boot_files
  drop /usr/local/bin/pressel
  for file in "${UNITS[@]}"; do drop "/usr/local/lib/systemd/system/$file"; done
  drop /usr/local/lib/sysusers.d/pressel.conf
  drop /usr/local/lib/tmpfiles.d/pressel.conf
  drop /etc/systemd/journald.conf.d/90-pressel.conf
  drop /etc/systemd/system.conf.d/90-pressel-watchdog.conf
  if [ -z "$dry" ] && systemd_runs; then systemctl daemon-reload; restart_journal; fi
  remove_state
  if [ "$(user_home)" = "$STATE" ] && changed "user pressel: removed"; then userdel pressel; fi
  remove_packages
  [ -n "$dry" ] || rm -f "$REBOOT"
  [ ! -f "$OPT/folders" ] || sort -r "$OPT/folders" >"$scratch/folders"
  drop "$OPT"
  while read -r file; do rmdir "$file" 2>/dev/null || true; done < <(cat "$scratch/folders" 2>/dev/null)
  total
}

remove_boot_files() {
  local file
  [ ! -f "$OPT/overlays" ] || while read -r file; do drop "$file"; done <"$OPT/overlays"
  file=$(config_txt) || return 0
  grep -q '^# >>> pressel' "$file" || return 0
  reboot=yes
  changed "$file" || return 0
  sed '/^# >>> pressel\r\?$/,/^# <<< pressel\r\?$/d' "$file" >"$scratch/config.txt"
  # The last line may have had no end before ours came.
  # shellcheck disable=SC1003 # sed's own way to end it
  if [ -f "$file$BACKUP_SUFFIX" ] && cmp -s "$scratch/config.txt" <(sed '$a\' "$file$BACKUP_SUFFIX"); then
    cp "$file$BACKUP_SUFFIX" "$scratch/config.txt"
  fi
  replace_on_fat "$scratch/config.txt" "$file"
  rm -f "$file$BACKUP_SUFFIX"
}

remove_state() {
  if [ -n "$purge" ]; then drop "$ETC"; drop "$STATE"; return; fi
  [ -d "$ETC" ] || [ -d "$STATE" ] || return 0
  note "kept: $ETC and $STATE (--uninstall --purge removes them too)"
  # Its user goes, and the next one to get that number must not own a key.
  [ -n "$dry" ] || [ ! -d "$STATE" ] || chown -R root:root "$STATE"
}

remove_packages() {
  local ours left
  ours=$(brought | xargs)
  [ -n "$ours" ] || return 0
  changed "packages: $ours removed" || return 0
  # shellcheck disable=SC2086 # a list of names
  dpkg --purge $ours >/dev/null 2>&1 9>&- || true
  left=$(brought | xargs)
  [ -z "$left" ] || note "kept, because others need them: $left"
}

# --- the command line

parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      --board | --config | --claim | --token-file | --gate)
        [ $# -ge 2 ] || die 2 "$1 needs a value; see --help"
        case $1 in
          --board) board=$2 ;; --config) config=$2 ;; --claim) claim=$2 ;; --token-file) token=$2 ;; --gate) gate=$2 ;;
        esac
        shift ;;
      --dry-run) dry=yes ;; --no-start) start='' ;; --no-packages) packages='' ;; --json) json=yes ;; --purge) purge=yes ;;
      --rollback | --uninstall | --status | --settle | --reset) action=${1#--} ;;
      --help | -h) usage; exit 0 ;;
      *) die 2 "unknown option $1; see --help" ;;
    esac
    shift
  done
  [[ $gate =~ ^[0-9]+$ ]] || die 2 "--gate takes whole seconds, not \"$gate\""
}

leave() {
  local status=$?
  jobs -p | xargs -r kill 2>/dev/null || true
  [ -z "$unfinished" ] || scrap "$unfinished"
  [ -z "$scratch" ] || rm -rf "$scratch"
  exit "$status"
}

main() {
  parse "$@"
  [ "$(id -u)" -eq 0 ] || die 4 "this must be run by root: sudo $0 $*"
  umask 022
  scratch=$(mktemp -d)
  trap leave EXIT
  trap 'exit 1' INT TERM HUP
  if [ "$action" != status ]; then
    exec 9>/run/pressel-install.lock
    flock --nonblock 9 || note "waiting: another install.sh is running"
    flock --wait 600 9 || die 1 "another install.sh has been running for ten minutes"
  fi
  "do_$action"
}

main "$@"
