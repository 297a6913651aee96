#!/usr/bin/env bash
# stack.sh with real servers in a folder of its own: test-stack.sh [1|3|secure], the number of brokers or, with one
# unless STACK_BROKERS says three, TLS and passwords.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
wanted=${1:-1}
case $wanted in
    1 | 3) STACK_BROKERS=$wanted ;;
    secure) STACK_BROKERS=${STACK_BROKERS:-1} ;;
    *) echo "use: $0 [1|3|secure]" >&2; exit 2 ;;
esac
folder=$(mktemp -d)
export STACK_DIR=$folder/stack STACK_BROKERS
unset FACEMILL FACEMILL_CONFIG CQLSH_HOST STACK_SECURE
export PATH=$scripts/kafka:$PATH
output=''

finish() {
    STACK_WIPE=1 STACK_STOP_SECONDS=10 "$scripts/stack.sh" down >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT

fail() {
    printf 'test-stack: %s\n%s\n' "$1" "$output" >&2
    exit 1
}

stack() {
    output=$("$scripts/stack.sh" "$@" 2>&1)
}

said() {
    [[ $output == *"$1"* ]] || fail "did not say: $1"
}

# status_is SERVER up|down|paused
status_is() {
    stack status || true
    grep -qE "^$1 +$2 " <<<"$output" || fail "$1 is not $2"
}

pid_of() {
    cat "$STACK_DIR/$1/pid"
}

# A zombie has ended, whoever is yet to ask for its exit code.
has_ended() {
    ! grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null
}

produce() {
    kafka-console-producer --bootstrap-server "$KAFKA_BROKERS" --topic t
}

# consume COUNT: the first records of the topic
consume() {
    kafka-console-consumer --bootstrap-server "$KAFKA_BROKERS" --topic t --from-beginning --max-messages "$1" \
        --timeout-ms 30000 2>/dev/null
}

cql() {
    cqlsh -e "$1" 2>/dev/null
}

step() {
    printf 'test-stack: %s\n' "$1"
}

up() {
    stack up || fail 'the stack did not start'
    # shellcheck source=/dev/null
    . "$STACK_DIR/env"
    kafka-topics --bootstrap-server "$KAFKA_BROKERS" --create --topic t >/dev/null 2>&1 || fail 'no topic'
}

one_broker() {
    step 'up, and Kafka and CQL by their own tools'
    stack status && fail 'there is a stack before there is one'
    up
    status_is kafka-1 up
    status_is cassandra up
    echo first | produce
    [ "$(consume 1)" = first ] || fail 'the record did not come back'
    cql 'SELECT release_version FROM system.local' | grep '5\.0\.' >/dev/null || fail 'no answer of Cassandra'
    cql "SELECT data_center FROM system.local" | grep "$CQL_DATACENTER" >/dev/null || fail 'another data centre'
    cql "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1};
         CREATE TABLE k.t (a int PRIMARY KEY); INSERT INTO k.t (a) VALUES (12345)" || fail 'no table'

    step 'up again; another number of brokers; the program'
    local before after
    before=$(cat "$STACK_DIR"/*/pid)
    stack up || fail 'up on a running stack failed'
    said 'is running already'
    [ "$(cat "$STACK_DIR"/*/pid)" = "$before" ] || fail 'up on a running stack started something'
    STACK_BROKERS=3 stack up && fail 'one broker passed for three'
    said 'has 1 broker(s), not 3'
    STACK_SECURE=1 stack up && fail 'a plain stack passed for a secure one'
    said 'is plain, not secure'
    # shellcheck disable=SC2016 # for the program to expand
    printf '#!/bin/sh\necho "$FACEMILL__KAFKA__BROKERS $FACEMILL__CQL__CONTACT_POINTS $FACEMILL__CQL__DATACENTER: $*"' \
        >"$folder/facemill"
    chmod +x "$folder/facemill"
    FACEMILL=$folder/facemill stack up || fail 'up with a program failed'
    said "$KAFKA_BROKERS [\"$CQL_CONTACT_POINT\"] datacenter1: schema apply --yes"
    said "$KAFKA_BROKERS [\"$CQL_CONTACT_POINT\"] datacenter1: topics apply --yes"
    FACEMILL=/bin/false stack up && fail 'a program that fails went unnoticed'

    step 'stop and start, kill and start: the data stay'
    stack stop kafka-1 cassandra || fail 'stop failed'
    status_is kafka-1 down
    stack status && fail 'status says 0 of a stack that is down'
    stack start kafka-1 cassandra || fail 'start failed'
    echo second | produce
    [ "$(consume 2 | paste -sd ,)" = first,second ] || fail 'Kafka lost a record by stop and start'
    cql 'SELECT a FROM k.t' | grep 12345 >/dev/null || fail 'Cassandra lost a row by stop and start'
    cql 'INSERT INTO k.t (a) VALUES (67890)'
    stack kill cassandra kafka-1 || fail 'kill failed'
    status_is cassandra down
    stack start kafka-1 cassandra || fail 'start after kill failed'
    [ "$(consume 2 | paste -sd ,)" = first,second ] || fail 'Kafka lost a record by kill -9'
    cql 'SELECT a FROM k.t' | grep 67890 >/dev/null || fail 'Cassandra lost a row by kill -9'

    step 'pause and continue'
    stack pause cassandra
    status_is cassandra paused
    timeout 3 "$scripts/kafka/cqlsh" -e 'SELECT release_version FROM system.local' >/dev/null 2>&1 &&
        fail 'a paused server answered'
    stack continue cassandra
    status_is cassandra up
    cql 'SELECT a FROM k.t' | grep 67890 >/dev/null || fail 'no answer after continue'

    step 'errors'
    stack stop kafka-9 && fail 'a server that is not there was stopped'
    said 'no server kafka-9'
    stack stop kafka-1
    python3 -m http.server --bind 127.0.0.1 "${KAFKA_BROKERS##*:}" >/dev/null 2>&1 &
    local other=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/${KAFKA_BROKERS##*:}") 2>/dev/null; do sleep 0.1; done
    stack start kafka-1 && fail 'a port that is taken went unnoticed'
    said 'is taken by another program'
    # A pid file that names a process of somebody else.
    echo "$other" >"$STACK_DIR/kafka-1/pid"
    status_is kafka-1 down
    stack kill kafka-1
    kill -0 "$other" 2>/dev/null || fail 'ended a process that is no server of the stack'
    kill "$other"
    wait "$other" 2>/dev/null || true
    cp "$STACK_DIR/kafka-1/data/meta.properties" "$folder/meta"
    echo 'node.id=7' >>"$STACK_DIR/kafka-1/data/meta.properties"
    stack start kafka-1 && fail 'a broker that cannot start went unnoticed'
    said 'kafka-1 ended while it started'
    said 'the last lines of'
    cp "$folder/meta" "$STACK_DIR/kafka-1/data/meta.properties"
    STACK_START_SECONDS=0 stack start kafka-1 && fail 'the time limit was not kept'
    said 'did not serve within 0 s'
    stack start kafka-1 || fail 'a broker that was still starting was not waited for'

    step 'down'
    before=$(pid_of cassandra)
    stack down || fail 'down failed'
    has_ended "$before" || fail 'down left Cassandra'
    [ ! -e "$STACK_DIR/env" ] || fail 'addresses stayed'
    stack down || fail 'a second down failed'
    before=$(cat "$STACK_DIR/ports")
    stack up || fail 'up after down failed'
    after=$(cat "$STACK_DIR/ports")
    [ "$before" = "$after" ] || fail 'other ports after a restart'
    [ "$(consume 2 | paste -sd ,)" = first,second ] || fail 'down lost a record'
}

three_brokers() {
    local sent=0 count=200
    step 'three brokers'
    up
    kafka-topics --bootstrap-server "$KAFKA_BROKERS" --describe --topic t >"$folder/topic"
    grep -q 'ReplicationFactor: 3.*min.insync.replicas=2' "$folder/topic" || fail "$(cat "$folder/topic")"

    step 'kill -9 of one in the middle of producing with acks=all'
    local leader
    leader=kafka-$(sed -n 's/.*Leader: \([0-9]\).*/\1/p' "$folder/topic")
    while [ "$sent" -lt "$count" ]; do
        sent=$((sent + 1))
        echo "record $sent"
        if [ "$sent" = $((count / 2)) ]; then
            "$scripts/stack.sh" kill "$leader" >&2
        fi
        sleep 0.03
    done | kafka-console-producer --bootstrap-server "$KAFKA_BROKERS" --topic t --request-required-acks all \
        2>"$folder/producer" || fail "$(cat "$folder/producer")"
    status_is "$leader" down
    [ "$(consume "$count" | sort -u | wc -l)" = "$count" ] || fail 'records were lost with a broker'

    step "$leader comes back"
    stack start "$leader" || fail 'the killed broker did not start'
    for _ in $(seq 30); do
        kafka-topics --bootstrap-server "$KAFKA_BROKERS" --describe --topic t >"$folder/topic" 2>/dev/null || true
        if grep -qE 'Isr: [123],[123],[123]' "$folder/topic"; then break; fi
        sleep 1
    done
    grep -qE 'Isr: [123],[123],[123]' "$folder/topic" || fail "it is not in sync again: $(cat "$folder/topic")"
}

# tool NAME WORD...: one of Kafka's tools, with what it prints as output
tool() {
    output=$("kafka-$1" --bootstrap-server "$KAFKA_BROKERS" "${@:2}" 2>&1)
}

# config SED-EXPRESSION...: another way into Kafka than the administrator's, without the patience of a minute
config() {
    sed "$@" "$KAFKA_CLIENT_CONFIG"
    printf '%s\n' request.timeout.ms=3000 default.api.timeout.ms=5000
}

# The administrator's, changed so that something is missing.
kafka_refuses() {
    config "${@:2}" >"$folder/config"
    tool topics --command-config "$folder/config" --list && fail "Kafka let in somebody $1"
    [[ $output != *$'\nt'* ]] || fail "Kafka showed its topics to somebody $1"
}

# cql_refuses WHOM CQLSH-OPTION...: told everything, as the host is named
cql_refuses() {
    output=$(CQLSH_HOST=127.0.0.1 CQLSH_PORT=${CQL_CONTACT_POINT#*:} SSL_CERTFILE=$CA_FILE \
        cqlsh "${@:2}" -e 'SELECT role FROM system_auth.roles' 2>&1) && fail "Cassandra let in somebody $1"
    said 'Connection error'
}

# cql_as_user STATEMENTS
cql_as_user() {
    (umask 077 && printf '%s\n' '[plain_text_auth]' "username = $CQL_USER" "password = $(cat "$CQL_PASSWORD_FILE")" \
        >"$folder/credentials")
    output=$(cqlsh --credentials "$folder/credentials" -e "$1" 2>&1)
}

secure() {
    local before keyspace="WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    step 'up with TLS and passwords'
    STACK_SECURE=1 up
    echo first | produce
    [ "$(consume 1)" = first ] || fail 'the administrator does not get at Kafka'
    [ -z "$(find "$STACK_DIR/secrets" "$STACK_DIR"/*/server.properties "$STACK_DIR"/*/cassandra.yaml -perm /077)" ] ||
        fail 'secrets are for everybody to read'

    step 'Kafka: nobody without TLS, nobody without a password'
    kafka_refuses 'with nothing' d
    kafka_refuses 'without a password' 's/SASL_SSL/SSL/'
    kafka_refuses 'without TLS' 's/SASL_SSL/SASL_PLAINTEXT/'
    kafka_refuses 'with another password' 's/password="/&0/'
    said 'invalid credentials'
    kafka_refuses 'with another password, by PLAIN' 's/SCRAM-SHA-512/PLAIN/;s/scram.Scram/plain.Plain/;s/password="/&0/'
    said 'Invalid username or password'
    config 's/SCRAM-SHA-512/PLAIN/;s/scram.Scram/plain.Plain/' >"$folder/config"
    tool topics --command-config "$folder/config" --list || fail 'PLAIN does not work'

    step 'Kafka: no rights but those that are given'
    tool console-consumer --command-config "$KAFKA_USER_CONFIG" --topic t --group g --from-beginning \
        --max-messages 1 --timeout-ms 10000 || true
    said 'Not authorized to access'
    tool console-producer --command-config "$KAFKA_USER_CONFIG" --topic t <<<second || true
    said 'Not authorized to access topics: [t]'
    tool acls --add --allow-principal "User:$KAFKA_USER" --producer --consumer --topic t --group g || fail 'no rights'
    tool console-producer --command-config "$KAFKA_USER_CONFIG" --topic t <<<third || fail 'no right to write'
    tool console-consumer --command-config "$KAFKA_USER_CONFIG" --topic t --group g --from-beginning \
        --max-messages 2 --timeout-ms 30000 || fail 'no right to read'
    [ "$(grep -x 'first\|second\|third' <<<"$output" | paste -sd ,)" = first,third ] || fail 'other records'

    step 'Cassandra: the same'
    cql_refuses 'without a password' --ssl
    cql_refuses 'without TLS' -u "$CQL_ADMIN_USER" -p "$(cat "$CQL_ADMIN_PASSWORD_FILE")"
    cql_refuses 'with the password of every new Cassandra' --ssl -u cassandra -p cassandra
    cql "CREATE KEYSPACE other $keyspace; CREATE TABLE other.t (a int PRIMARY KEY)" >/dev/null ||
        fail 'the administrator does not get at Cassandra'
    cql_as_user "CREATE KEYSPACE k $keyspace; CREATE TABLE k.t (a int PRIMARY KEY); INSERT INTO k.t (a) VALUES (12345);
        SELECT a FROM k.t" || fail 'no keyspace of its own'
    said 12345
    cql_as_user 'SELECT a FROM other.t' && fail 'read the table of another'
    said 'has no SELECT permission'

    step 'up again; as plain; the program'
    # As if the first start had been interrupted after the last statement.
    rm "$STACK_DIR/cassandra/roles"
    stack up || fail 'up on a running stack failed'
    said 'is running already'
    STACK_SECURE=0 stack up && fail 'a secure stack passed for a plain one'
    said 'is secure, not plain'
    STACK_SECURE=0 stack start cassandra && fail 'a secure stack passed for a plain one at start'
    said 'is secure, not plain'
    # shellcheck disable=SC2016 # for the program to expand
    printf '#!/bin/sh\necho "$FACEMILL_CONFIG: $*"' >"$folder/facemill"
    chmod +x "$folder/facemill"
    FACEMILL=$folder/facemill stack up || fail 'up with a program failed'
    said "$STACK_DIR/facemill.toml: schema apply --yes"
    said "--set kafka.config.sasl.username=admin --set kafka.config_files.sasl.password=$KAFKA_ADMIN_PASSWORD_FILE"

    step 'the same passwords after kill and start, down and up'
    before=$(cat "$STACK_DIR"/secrets/* | sha256sum)
    stack kill kafka-1 cassandra || fail 'kill failed'
    stack start kafka-1 cassandra || fail 'start failed'
    [ "$(consume 2 | paste -sd ,)" = first,third ] || fail 'Kafka lost a record or its users'
    stack down || fail 'down failed'
    [ ! -e "$STACK_DIR/facemill.toml" ] || fail 'addresses stayed'
    stack up || fail 'up after down failed'
    [ "$(cat "$STACK_DIR"/secrets/* | sha256sum)" = "$before" ] || fail 'other passwords after a restart'
    tool console-consumer --command-config "$KAFKA_USER_CONFIG" --topic t --group h --from-beginning \
        --timeout-ms 10000 || true
    said 'Not authorized to access group: h'
    cql_as_user 'SELECT a FROM k.t' || fail 'Cassandra lost a row or its users'
    said 12345

    step 'a password that is gone'
    stack stop kafka-1
    mv "$KAFKA_PASSWORD_FILE" "$folder/password"
    stack start kafka-1 && fail 'a broker started with an empty password'
    said 'kafka-facemill.password is gone'
    mv "$folder/password" "$KAFKA_PASSWORD_FILE"
}

case $wanted in
    1) one_broker ;;
    3) three_brokers ;;
    secure) secure ;;
esac

step 'down, with the data'
pids=$(cat "$STACK_DIR"/*/pid)
STACK_WIPE=1 stack down || fail 'down failed'
for pid in $pids; do
    has_ended "$pid" || fail "down left process $pid"
done
[ ! -e "$STACK_DIR" ] || fail 'STACK_WIPE=1 left something'
echo "test-stack: passed ($wanted, $STACK_BROKERS broker(s), $SECONDS s)"
