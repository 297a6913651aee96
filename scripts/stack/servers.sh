# shellcheck shell=bash
# How each server is configured and started: sourced by stack.sh.
#
# shellcheck disable=SC2154 # java and stack_scripts are of paths.sh, which stack.sh has sourced before
#
# A server's home is $STACK_DIR/NAME: its configuration, data, logs and pid file.

# Written once, so that clients and the other brokers find a server again after a restart:
# NAME PORT..., where the first port is the one for clients. A third one of a broker says that the stack is secure.
ports_file=$STACK_DIR/ports

port_is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# choose_ports COUNT: from below the range of which the kernel takes a port for every outgoing connection; from
# within it, a port could be gone when its server is started again.
choose_ports() {
    local first=15000 last count=$1 port
    read -r last _ </proc/sys/net/ipv4/ip_local_port_range
    [ "$last" -gt $((first + 1000)) ] || { first=32000 last=60000; }
    while read -r port; do
        if ! port_is_open "$port"; then
            echo "$port"
            count=$((count - 1))
            [ "$count" -gt 0 ] || return 0
        fi
    done < <(shuf --input-range "$first-$((last - 1))")
    return 1
}

# ports_of NAME: its ports, one a line
ports_of() {
    sed -n "s/^$1 //p" "$ports_file" | tr ' ' '\n'
}

port_of() {
    sed -n "s/^$1 \([0-9]*\).*/\1/p" "$ports_file"
}

servers() {
    cut -d ' ' -f 1 "$ports_file"
}

brokers() {
    servers | grep '^kafka-'
}

# What a new folder gets, names and ports: plan BROKERS PORTS-OF-EACH
plan() {
    local count=$1 each=$2 ports node
    mapfile -t ports < <(choose_ports $((each * count + 3)))
    [ ${#ports[@]} -eq $((each * count + 3)) ] || fail 'there are not enough free ports on 127.0.0.1'
    {
        for ((node = 1; node <= count; node++)); do
            echo "kafka-$node ${ports[*]:each * (node - 1):each}"
        done
        echo "cassandra ${ports[*]: -3}"
    } >"$ports_file.new"
    mv "$ports_file.new" "$ports_file"
}

# The addresses of the brokers' listeners: addresses 1 (for clients) or 2 (controllers), with commas
addresses() {
    brokers | while read -r name; do
        ports_of "$name" | sed -n "$1s/^/127.0.0.1:/p"
    done | paste -sd ,
}

# 16 random bytes as Kafka writes them; it takes no id that begins with a dash.
kafka_id() {
    local id=-
    while [ "${id:0:1}" = - ]; do
        id=$(head --bytes 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    done
    echo "$id"
}

# plain_listeners CLIENTS CONTROLLERS: the ports
plain_listeners() {
    cat <<PROPERTIES
listeners=CLIENT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=CLIENT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
PROPERTIES
}

write_kafka_properties() {
    local name=$1 home=$STACK_DIR/$1 ports count replicas synced
    mapfile -t ports < <(ports_of "$name")
    count=$(brokers | wc -l)
    replicas=$((count < 3 ? 1 : 3))
    synced=$((count < 3 ? 1 : 2))
    cat >"$home/server.properties" <<PROPERTIES
# Written by scripts/stack.sh at every start.
process.roles=broker,controller
node.id=${name#kafka-}
log.dirs=$home/data
$(if is_secure; then secure_listeners "${ports[@]}"; else plain_listeners "${ports[@]}"; fi)
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=$(addresses 2)

# Topics are code: one that is not made is an error.
auto.create.topics.enable=false
delete.topic.enable=true
# A picture of 10 MiB with its headers.
message.max.bytes=11534336
replica.fetch.max.bytes=11534336
default.replication.factor=$replicas
min.insync.replicas=$synced
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$synced
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$synced

# Small and quick: few partitions inside, no waiting for more members, a small table for compaction.
offsets.topic.num.partitions=5
transaction.state.log.num.partitions=5
share.coordinator.state.topic.num.partitions=5
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
PROPERTIES
}

# Gives the data folders their ids, which name the first controllers: all brokers at once.
format_kafka() {
    local name cluster controllers=() how=() pids=() pid
    if [ -e "$STACK_DIR/kafka-1/data/meta.properties" ]; then
        return
    fi
    ! is_secure || make_secrets
    for name in $(brokers); do
        controllers+=("${name#kafka-}@$(ports_of "$name" | sed -n '2s/^/127.0.0.1:/p'):$(kafka_id)")
    done
    how=(--initial-controllers "$(IFS=, && echo "${controllers[*]}")")
    cluster=$(kafka_id)
    for name in $(brokers); do
        # What an interrupted first start left.
        rm -rf "$STACK_DIR/$name/data"
        mkdir -p "$STACK_DIR/$name/data"
        write_kafka_properties "$name"
        {
            printf '%s\n' kafka.tools.StorageTool format "${how[@]}" --cluster-id "$cluster"
            printf '%s\n' --config "$STACK_DIR/$name/server.properties"
            ! is_secure || scram_users
        } >"$STACK_DIR/$name/format.words"
        # From a file, because a command line with passwords would be for everybody to read.
        "$java" -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
            "-Dlog4j2.configurationFile=file:$stack_scripts/kafka/tools-log4j2.xml" -cp "$(jars_of kafka)/*" \
            "@$STACK_DIR/$name/format.words" >"$STACK_DIR/$name/format.log" 2>&1 9>&- &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "the data folder of a broker could not be formatted:
$(tail -n 5 "$STACK_DIR"/kafka-*/format.log)"
    done
    rm -f "$STACK_DIR"/kafka-*/format.words
}

write_cassandra_yaml() {
    local home=$STACK_DIR/cassandra ports
    mapfile -t ports < <(ports_of cassandra)
    cat >"$home/cassandra.yaml" <<YAML
# Written by scripts/stack.sh at every start.
cluster_name: facemill
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: ${ports[0]}
storage_port: ${ports[1]}
ssl_storage_port: ${ports[2]}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:${ports[1]}"

data_file_directories: [$home/data/data]
commitlog_directory: $home/data/commitlog
saved_caches_directory: $home/data/saved_caches
hints_directory: $home/data/hints
cdc_raw_directory: $home/data/cdc_raw

# The log is written through a memory map: what was acknowledged survives the death of the process.
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_total_space: 256MiB
disk_failure_policy: stop
commit_failure_policy: stop
# Tests drop and truncate tables all the time.
auto_snapshot: false
$(! is_secure || secure_cassandra_yaml)
YAML
}

# Sets `command` to what runs a server.
command_of() {
    local name=$1 home=$STACK_DIR/$1 heap=512m
    # The first argument is how a process is known again: see pid_of.
    command=("$java" "-Dfacemill.stack=$home" "-Dfacemill.log=$home/server.log")
    case $name in
        kafka-*)
            [ "$(brokers | wc -l)" = 1 ] || heap=384m
            command+=("-Xms$heap" "-Xmx$heap" -XX:+ExitOnOutOfMemoryError
                "-Dlog4j2.configurationFile=file:$stack_scripts/kafka/log4j2.xml"
                -cp "$(jars_of kafka)/*" kafka.Kafka "$home/server.properties") ;;
        cassandra)
            command+=("@$stack_scripts/cassandra/jvm.options" "-Dcassandra.config=file://$home/cassandra.yaml"
                "-Dlogback.configurationFile=file:$stack_scripts/cassandra/logback.xml"
                "-Dcassandra.storagedir=$home/data" "-Dcassandra.logdir=$home" "-Djava.io.tmpdir=$home/tmp"
                -cp "$(jars_of cassandra)/*" org.apache.cassandra.service.CassandraDaemon) ;;
    esac
}

configure() {
    ! is_secure || check_secrets
    case $1 in
        kafka-*) write_kafka_properties "$1" ;;
        cassandra) write_cassandra_yaml ;;
    esac
}

# Whether a server that has just been started serves now.
serves() {
    port_is_open "$(port_of "$1")" || return 1
    case $1 in
        # Its port opens before it answers.
        kafka-*) grep -q 'Kafka Server started' "$STACK_DIR/$1/server.log" 2>/dev/null ;;
    esac
}
