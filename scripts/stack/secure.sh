# shellcheck shell=bash
# What a secure stack (STACK_SECURE=1) has and a plain one has not: sourced by stack.sh after servers.sh.
#
# shellcheck disable=SC2154 # java, here and start_limit are of stack.sh and of what it has sourced before
#
# Clients need TLS and a password. secrets/ has one file for each password, and what is made of them:
#
#   NAME.password           of kafka-admin, kafka-facemill, cql-cassandra, cql-facemill and of the keystore
#   ca.pem, server.p12      the authority, and the servers' key with a certificate that it has signed
#   kafka-USER.properties   --command-config of Kafka's tools
#   cqlsh.credentials       --credentials of cqlsh

secrets=$STACK_DIR/secrets

# Whether this folder was made secure: its brokers have a third port, for each other.
is_secure() {
    [ "$(ports_of kafka-1 | wc -l)" = 3 ]
}

# Holds a folder to what it was made as: nothing of it changes sides with a variable.
check_mode() {
    local is=0
    ! is_secure || is=1
    case ${STACK_SECURE:-$is}$is in
        01) other_folder 'is secure, not plain' ;;
        10) other_folder 'is plain, not secure' ;;
    esac
    # Configuration, data and logs of a secure one are for its owner alone.
    [ "$is" = 0 ] || umask 077
}

# The file with a password: password_file NAME
password_file() {
    echo "$secrets/$1.password"
}

password() {
    cat "$(password_file "$1")"
}

# In digits and letters, which need no quotes in any of the files that they go into.
make_password() {
    local file
    file=$(password_file "$1")
    [ ! -s "$file" ] || return 0
    head --bytes 24 /dev/urandom | od -A n -t x1 | tr -d ' \n' >"$file.new"
    mv "$file.new" "$file"
}

# keytool_here WORD...: on the keystore that is being made
keytool_here() {
    "${java%java}keytool" -J-Xmx64m -J-XX:TieredStopAtLevel=1 "$@" -keystore "$secrets/server.p12.new" \
        -storetype PKCS12 -storepass:file "$(password_file keystore)" >"$secrets/keytool.log" 2>&1 ||
        fail "keytool could not make the certificates: $(cat "$secrets/keytool.log")"
}

# By keytool, because Java is there and openssl may not be.
make_certificates() {
    [ ! -e "$secrets/server.p12" ] || return 0
    rm -f "$secrets/server.p12.new"
    keytool_here -genkeypair -alias ca -keyalg EC -groupname secp256r1 -validity 3650 \
        -dname 'CN=facemill test stack' -ext bc:c -ext ku:c=keyCertSign,cRLSign
    keytool_here -exportcert -rfc -alias ca -file "$secrets/ca.pem"
    keytool_here -genkeypair -alias server -signer ca -keyalg EC -groupname secp256r1 -validity 3650 \
        -dname 'CN=localhost' -ext san=ip:127.0.0.1,dns:localhost -ext ku:c=digitalSignature -ext eku=serverAuth
    # Who trusts this authority trusts one certificate, for loopback: no second one can be signed.
    keytool_here -delete -alias ca
    rm "$secrets/keytool.log"
    mv "$secrets/server.p12.new" "$secrets/server.p12"
}

write_client_config() {
    cat >"$secrets/kafka-$1.properties" <<PROPERTIES
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\
  username="$1" password="$(password "kafka-$1")";
ssl.truststore.type=PEM
ssl.truststore.location=$secrets/ca.pem
PROPERTIES
}

make_secrets() {
    local name
    mkdir -p "$secrets"
    for name in kafka-admin kafka-facemill cql-cassandra cql-facemill keystore; do
        make_password "$name"
    done
    make_certificates
    write_client_config admin
    write_client_config facemill
    printf '%s\n' '[plain_text_auth]' 'username = cassandra' "password = $(password cql-cassandra)" \
        >"$secrets/cqlsh.credentials"
}

# The servers keep what they were given at their first start: new passwords would be others than theirs.
check_secrets() {
    local name
    for name in kafka-admin.password kafka-facemill.password cql-cassandra.password cql-facemill.password \
        keystore.password ca.pem server.p12; do
        [ -s "$secrets/$name" ] || fail "$secrets/$name is gone, and with it the way into these servers.
  Start afresh: STACK_WIPE=1 $0 down"
    done
}

# For `StorageTool format`, as words of a java @FILE.
scram_users() {
    local user
    for user in admin facemill; do
        echo "--add-scram SCRAM-SHA-512=[name=$user,password=$(password "kafka-$user")]"
    done
}

# secure_listeners CLIENTS CONTROLLERS BROKERS: the ports
#
# Brokers and controllers speak without a password among themselves, and whoever reaches their two ports may do
# everything, as User:ANONYMOUS. That is good enough for tests: these ports are on loopback and given to no client,
# and on the clients' listener nobody is anonymous.
secure_listeners() {
    local listeners=CLIENT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2,BROKER://127.0.0.1:$3
    local modules=org.apache.kafka.common.security
    cat <<PROPERTIES
listeners=$listeners
advertised.listeners=$listeners
listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT
inter.broker.listener.name=BROKER

authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:ANONYMOUS
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.client.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
listener.name.client.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required \\
  user_admin="$(password kafka-admin)" user_facemill="$(password kafka-facemill)";
listener.name.client.ssl.keystore.type=PKCS12
listener.name.client.ssl.keystore.location=$secrets/server.p12
listener.name.client.ssl.keystore.password=$(password keystore)
PROPERTIES
}

secure_cassandra_yaml() {
    cat <<YAML

authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
# A change of a password or a right holds soon, and not after the 2 s of the default.
credentials_validity: 100ms
roles_validity: 100ms
permissions_validity: 100ms
client_encryption_options:
  enabled: true
  optional: false
  store_type: PKCS12
  keystore: $secrets/server.p12
  keystore_password: $(password keystore)
YAML
}

# make_roles_as CQLSH-OPTION...: the same again does no harm. Through stdin, as a command line is for everybody to
# read. facemill owns the keyspaces that it makes, and has no right to others.
make_roles_as() {
    timeout 60 "$here/kafka/cqlsh" "$@" >"$STACK_DIR/cassandra/roles.log" 2>&1 9>&- <<CQL
CREATE ROLE IF NOT EXISTS facemill WITH LOGIN = true AND PASSWORD = '$(password cql-facemill)';
GRANT CREATE ON ALL KEYSPACES TO facemill;
ALTER ROLE cassandra WITH PASSWORD = '$(password cql-cassandra)';
CQL
}

# Once. Cassandra makes the role cassandra, with its name as password, some seconds after its port opens; an earlier
# start that was interrupted may have set the new password already.
make_roles() {
    local done=$STACK_DIR/cassandra/roles started=$SECONDS
    [ ! -e "$done" ] || return 0
    until make_roles_as -u cassandra -p cassandra || make_roles_as; do
        [ $((SECONDS - started)) -lt "$start_limit" ] ||
            fail "Cassandra did not take its roles within $start_limit s: $(cat "$STACK_DIR/cassandra/roles.log")"
        sleep 0.5
    done
    : >"$done"
}

# The part of the file env.
secure_env() {
    printf '%s=%q\n' CA_FILE "$secrets/ca.pem" \
        KAFKA_USER facemill KAFKA_PASSWORD_FILE "$(password_file kafka-facemill)" \
        KAFKA_USER_CONFIG "$secrets/kafka-facemill.properties" \
        KAFKA_ADMIN_USER admin KAFKA_ADMIN_PASSWORD_FILE "$(password_file kafka-admin)" \
        KAFKA_CLIENT_CONFIG "$secrets/kafka-admin.properties" \
        CQL_USER facemill CQL_PASSWORD_FILE "$(password_file cql-facemill)" \
        CQL_ADMIN_USER cassandra CQL_ADMIN_PASSWORD_FILE "$(password_file cql-cassandra)" \
        CQL_ADMIN_CREDENTIALS "$secrets/cqlsh.credentials" FACEMILL_CONFIG "$STACK_DIR/facemill.toml"
}

write_facemill_toml() {
    cat >"$STACK_DIR/facemill.toml" <<TOML
# Written by scripts/stack.sh: for facemill's option --config.
[kafka]
brokers = "$(addresses 1)"

[kafka.config]
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "facemill"
"ssl.ca.location" = "$secrets/ca.pem"

[kafka.config_files]
"sasl.password" = "$(password_file kafka-facemill)"

[cql]
contact_points = ["127.0.0.1:$(port_of cassandra)"]
datacenter = "datacenter1"
username = "facemill"
password_file = "$(password_file cql-facemill)"
tls = true
tls_ca_file = "$secrets/ca.pem"
TOML
}
