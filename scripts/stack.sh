#!/usr/bin/env bash
# A real Kafka and a real CQL database (Cassandra) on loopback, from jars, as background processes: docs/stack.md.
#
#   stack.sh up | down | status
#   stack.sh start | stop | kill | pause | continue SERVER...     SERVER: kafka-1 kafka-2 kafka-3 cassandra
#
#   STACK_DIR       the folder with data, logs, pid files and ports (.stack in the checkout); each is its own stack
#   STACK_BROKERS   1 or 3; of a folder that has data, what it was made with
#   STACK_SECURE    1: nobody gets in without TLS and a password; of a folder that has data, what it was made with
#   STACK_PARTITIONS  partitions of each topic that `up` applies; 12 if unset
#   STACK_WIPE=1    `down` removes the data too
#   FACEMILL        the program with which `up` applies schema and topics; without it, `up` starts servers only
set -euo pipefail

fail() {
    printf 'stack: %s\n' "$*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/stack/paths.sh
. "$here/stack/paths.sh"
# shellcheck source=scripts/stack/servers.sh
. "$here/stack/servers.sh"
# shellcheck source=scripts/stack/secure.sh
. "$here/stack/secure.sh"

start_limit=${STACK_START_SECONDS:-120}
stop_limit=${STACK_STOP_SECONDS:-20}

# pid_of NAME: the process that the pid file names, if it lives and is really this server
pid_of() {
    local pid
    { read -r pid <"$STACK_DIR/$1/pid"; } 2>/dev/null || return 1
    { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF -e "-Dfacemill.stack=$STACK_DIR/$1" || return 1
    echo "$pid"
}

# The letter of a process's state: T is stopped by a signal, Z ended and not yet forgotten.
state_of() {
    sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true
}

# has_ended PID: with its ports and files closed. A process loses its command line before those, and its first
# thread may be a zombie while others still hold them.
has_ended() {
    local threads
    [ -e "/proc/$1" ] || return 0
    threads=(/proc/"$1"/task/*)
    [ "$(state_of "$1")" = Z ] && [ ${#threads[@]} -le 1 ]
}

last_lines() {
    local file
    for file in server.log out.log; do
        if [ -s "$STACK_DIR/$1/$file" ]; then
            printf -- '--- the last lines of %s\n' "$STACK_DIR/$1/$file"
            tail -n 15 "$STACK_DIR/$1/$file"
        fi
    done >&2
}

# Starts without waiting.
launch() {
    local name=$1 home=$STACK_DIR/$1 pid port command
    if pid=$(pid_of "$name"); then
        kill -CONT "$pid"
        return
    fi
    for port in $(ports_of "$name"); do
        ! port_is_open "$port" || fail "port $port of $name is taken by another program, and $ports_file keeps it.
  End that program, or take another folder (STACK_DIR=FOLDER), or start afresh: STACK_WIPE=1 $0 down"
    done
    mkdir -p "$home/data" "$home/tmp"
    configure "$name"
    rm -f "$home/ready"
    # The line that says that it serves must be of this start.
    if [ -e "$home/server.log" ]; then
        mv -f "$home/server.log" "$home/server.log.before"
    fi
    command_of "$name"
    # In its home, where a JVM that dies leaves its report; without the lock.
    env --chdir="$home" setsid nohup "${command[@]}" >"$home/out.log" 2>&1 </dev/null 9>&- &
    echo $! >"$home/pid"
}

wait_until_ready() {
    local name=$1 home=$STACK_DIR/$1 started=$SECONDS
    # A log that was rotated since has lost the line.
    [ ! -e "$home/ready" ] || return 0
    until serves "$name"; do
        if ! pid_of "$name" >/dev/null; then
            # For a moment the process is still the shell that becomes it.
            sleep 0.5
            pid_of "$name" >/dev/null || { last_lines "$name"; fail "$name ended while it started"; }
        fi
        if [ $((SECONDS - started)) -ge "$start_limit" ]; then
            last_lines "$name"
            fail "$name did not serve within $start_limit s (STACK_START_SECONDS); it goes on: $0 status"
        fi
        sleep 0.2
    done
    : >"$home/ready"
}

write_env() {
    {
        echo '# Written by scripts/stack.sh: what is needed to reach the servers.'
        printf '%s=%q\n' KAFKA_BROKERS "$(addresses 1)" CQL_CONTACT_POINT "127.0.0.1:$(port_of cassandra)" \
            CQL_DATACENTER datacenter1
        servers | while read -r name; do
            printf '%s_PID_FILE=%q\n' "$(tr a-z- A-Z_ <<<"$name")" "$STACK_DIR/$name/pid"
        done
        ! is_secure || secure_env
    } >"$STACK_DIR/env.new"
    ! is_secure || write_facemill_toml
    mv "$STACK_DIR/env.new" "$STACK_DIR/env"
}

# The schema and the topics, by the program that needs them.
apply() {
    local admin=()
    export FACEMILL__KAFKA__BROKERS FACEMILL__CQL__CONTACT_POINTS FACEMILL__CQL__DATACENTER=datacenter1
    FACEMILL__KAFKA__BROKERS=$(addresses 1)
    FACEMILL__CQL__CONTACT_POINTS="[\"127.0.0.1:$(port_of cassandra)\"]"
    if is_secure; then
        export FACEMILL_CONFIG=$STACK_DIR/facemill.toml
        # The user of that file has no rights to topics.
        admin=(--set kafka.config.sasl.username=admin
            --set "kafka.config_files.sasl.password=$(password_file kafka-admin)")
    fi
    "$FACEMILL" schema apply --yes --create-keyspace --replication-factor 1
    "$FACEMILL" topics apply --yes --partitions "${STACK_PARTITIONS:-12}" --replicas "$(brokers | wc -l)" "${admin[@]}"
}

# other_folder WHAT: this one is not what is asked for
other_folder() {
    fail "the stack in $STACK_DIR $1.
  Take another folder (STACK_DIR=FOLDER), or start afresh: STACK_WIPE=1 $0 down"
}

up() {
    local name count=${STACK_BROKERS:-} running=yes
    [ "$(uname -s)" = Linux ] || fail 'this needs Linux (/proc, setsid); elsewhere: docker compose up --wait'
    [[ $STACK_DIR$stack_cache =~ ^[A-Za-z0-9/._+@-]+$ ]] ||
        fail "$STACK_DIR or $stack_cache has a character that the servers' configuration cannot hold; set STACK_DIR
  and XDG_CACHE_HOME to folders whose paths have only letters, digits and /._+@-"
    case $count in '' | 1 | 3) ;; *) fail "STACK_BROKERS is 1 or 3, not $count" ;; esac
    if [ ! -e "$ports_file" ]; then
        plan "${count:-1}" $((2 + ${STACK_SECURE:-0}))
    elif [ -n "$count" ] && [ "$(brokers | wc -l)" != "$count" ]; then
        other_folder "has $(brokers | wc -l) broker(s), not $count"
    fi
    check_mode
    "$here/need.sh" java
    for name in $(servers); do
        [ -e "$STACK_DIR/$name/ready" ] && pid_of "$name" >/dev/null || running=''
    done
    if [ -n "$running" ]; then
        echo "The stack in $STACK_DIR is running already"
    else
        "$here/stack/fetch.sh" kafka cassandra
        ! is_secure || "$here/stack/fetch.sh" cqlsh
        format_kafka
        echo "Starting $(servers | paste -sd ' ')"
    fi
    for name in $(servers); do launch "$name"; done
    write_env
    for name in $(servers); do wait_until_ready "$name"; done
    ! is_secure || make_roles
    if [ -n "${FACEMILL:-}" ]; then
        apply
    fi
    status || true
    echo "Addresses are in $STACK_DIR/env"
}

# end SIGNAL NAME...: ends them together, waits, and kills what stays
end() {
    local signal=$1 name pid started=$SECONDS
    local -A pids=()
    shift
    for name in "$@"; do
        rm -f "$STACK_DIR/$name/ready"
        if pid=$(pid_of "$name"); then
            pids[$name]=$pid
            kill "-$signal" "$pid" 2>/dev/null || true
            # One that is paused would not see the signal.
            kill -CONT "$pid" 2>/dev/null || true
        fi
    done
    for name in "${!pids[@]}"; do
        pid=${pids[$name]}
        until has_ended "$pid"; do
            if [ $((SECONDS - started)) -ge "$stop_limit" ] && [ "$(pid_of "$name")" = "$pid" ]; then
                echo "$name did not end within $stop_limit s: killed" >&2
                kill -KILL "$pid" 2>/dev/null || true
                started=$SECONDS
            fi
            sleep 0.1
        done
    done
    for name in "$@"; do
        rm -f "$STACK_DIR/$name/pid"
    done
}

down() {
    local name
    # shellcheck disable=SC2046 # names without spaces
    end TERM $(servers)
    rm -f "$STACK_DIR/env"
    ! is_secure || rm -f "$STACK_DIR/facemill.toml"
    if [ "${STACK_WIPE:-0}" = 1 ]; then
        for name in $(servers); do
            rm -rf "${STACK_DIR:?}/$name"
        done
        ! is_secure || rm -rf "${secrets:?}"
        rm -f "$ports_file" "$STACK_DIR/lock"
        rmdir --ignore-fail-on-non-empty "$STACK_DIR"
        echo "The stack is down, its data removed from $STACK_DIR"
    else
        echo "The stack is down; its data stay in $STACK_DIR (STACK_WIPE=1 removes them)"
    fi
}

# One line a server; 3 if one is not up.
status() {
    local name pid what code=0
    for name in $(servers); do
        if pid=$(pid_of "$name"); then
            what=up
            [ -e "$STACK_DIR/$name/ready" ] || what=starting
            [ "$(state_of "$pid")" != T ] || what=paused
            printf '%-10s %-9s pid %-8s 127.0.0.1:%-6s %5d MB\n' "$name" "$what" "$pid" "$(port_of "$name")" \
                $(($(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status") / 1024))
            [ "$what" = up ] || code=3
        else
            printf '%-10s %-9s pid %-8s 127.0.0.1:%-6s %5s MB\n' "$name" down - "$(port_of "$name")" -
            code=3
        fi
    done
    return "$code"
}

known() {
    local name
    [ $# -gt 0 ] || fail "name a server: $(servers | paste -sd ' ')"
    for name in "$@"; do
        servers | grep -qxF -e "$name" || fail "there is no server $name here, only $(servers | paste -sd ' ')"
    done
}

# Two commands on one folder wait for each other.
lock() {
    mkdir -p "$STACK_DIR"
    exec 9>"$STACK_DIR/lock"
    flock --timeout 300 9 || fail "another stack.sh has been at work in $STACK_DIR for five minutes"
}

case ${STACK_SECURE:=} in '' | 0 | 1) ;; *) fail "STACK_SECURE is 1 or 0, not $STACK_SECURE" ;; esac
verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
    up)
        lock
        up
        exit ;;
    down | status | start | stop | kill | pause | continue) ;;
    *) fail "use: $0 up | down | status | {start|stop|kill|pause|continue} SERVER..." ;;
esac

if [ ! -e "$ports_file" ]; then
    echo "There is no stack in $STACK_DIR; make stack-up starts one"
    case $verb in down) exit 0 ;; *) exit 3 ;; esac
fi
case $verb in
    down)
        lock
        down ;;
    status) status ;;
    start)
        known "$@"
        check_mode
        lock
        for name in "$@"; do launch "$name"; done
        for name in "$@"; do wait_until_ready "$name"; done ;;
    stop)
        known "$@"
        end TERM "$@" ;;
    kill)
        known "$@"
        end KILL "$@" ;;
    pause | continue)
        known "$@"
        for name in "$@"; do
            pid=$(pid_of "$name") || fail "$name is not running"
            kill "-$([ "$verb" = pause ] && echo STOP || echo CONT)" "$pid"
        done ;;
esac
