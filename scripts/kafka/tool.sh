#!/usr/bin/env bash
# Kafka's command-line tools under their own names, from the jars of the stack: the links beside this file.
set -euo pipefail

name=$(basename "$0" .sh)
# shellcheck source=scripts/stack/paths.sh
. "$(dirname "$(realpath "$0")")/../stack/paths.sh"

package=org.apache.kafka.tools
case $name in
    kafka-acls) class=$package.AclCommand ;;
    kafka-broker-api-versions) class=$package.BrokerApiVersionsCommand ;;
    kafka-cluster) class=$package.ClusterTool ;;
    kafka-configs) class=kafka.admin.ConfigCommand ;;
    kafka-console-consumer) class=$package.consumer.ConsoleConsumer ;;
    kafka-console-producer) class=$package.ConsoleProducer ;;
    kafka-consumer-groups) class=$package.consumer.group.ConsumerGroupCommand ;;
    kafka-consumer-perf-test) class=$package.ConsumerPerformance ;;
    kafka-delete-records) class=$package.DeleteRecordsCommand ;;
    kafka-dump-log) class=$package.DumpLogSegments ;;
    kafka-features) class=$package.FeatureCommand ;;
    kafka-get-offsets) class=$package.GetOffsetShell ;;
    kafka-groups) class=$package.GroupsCommand ;;
    kafka-leader-election) class=$package.LeaderElectionCommand ;;
    kafka-log-dirs) class=$package.LogDirsCommand ;;
    kafka-metadata-quorum) class=$package.MetadataQuorumCommand ;;
    kafka-producer-perf-test) class=$package.ProducerPerformance ;;
    kafka-reassign-partitions) class=$package.reassign.ReassignPartitionsCommand ;;
    kafka-storage) class=kafka.tools.StorageTool ;;
    kafka-topics) class=$package.TopicCommand ;;
    kafka-transactions) class=$package.TransactionsCommand ;;
    *)
        echo "$name: no tool of Kafka that is linked here: $(cd "$(dirname "$0")" && echo kafka-*)" >&2
        exit 1 ;;
esac

# Whether these words are for the brokers of a secure stack and say nothing about who asks.
needs_login() {
    local word broker
    [ -e "$STACK_DIR/env" ] || return 1
    KAFKA_CLIENT_CONFIG=''
    # shellcheck source=/dev/null
    . "$STACK_DIR/env"
    [ -n "$KAFKA_CLIENT_CONFIG" ] || return 1
    for word in "$@"; do
        case $word in --command-config* | --producer.config* | --consumer.config* | --admin.config*) return 1 ;; esac
    done
    for broker in ${KAFKA_BROKERS//,/ }; do
        [[ "$* " != *:"${broker##*:}"[,\ ]* ]] || return 0
    done
    return 1
}

if needs_login "$@"; then
    case $name in
        # The option belongs to the sub-command.
        kafka-cluster) set -- "$@" --command-config "$KAFKA_CLIENT_CONFIG" ;;
        *) set -- --command-config "$KAFKA_CLIENT_CONFIG" "$@" ;;
    esac
fi

jars=$(jars_of kafka)
[ -d "$jars" ] || "$stack_scripts/fetch.sh" kafka >&2
# A tool lives for a second: it starts faster without the optimising compiler.
exec "$java" -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto \
    "-Dlog4j2.configurationFile=file:$stack_scripts/kafka/tools-log4j2.xml" -cp "$jars/*" "$class" "$@"
