#!/usr/bin/env bash
# Fetches and runs a real Apache RocketMQ, one NameServer and one broker, as the reference to compare with.
#
#   run.sh fetch                                             jars into target/lib, once
#   run.sh start DIR NAMESRV_PORT BROKER_PORT [sync|async]   returns when the broker takes messages
#   run.sh start-namesrv DIR NAMESRV_PORT                    the NameServer alone
#   run.sh start-broker DIR NAMESRV_ADDRESSES BROKER_PORT [sync|async]     the broker alone; host:port;host:port
#   run.sh stop DIR                                          clean shutdown of what was started in DIR
#   run.sh admin COMMAND...                                  mqadmin, e.g. admin topicList -n 127.0.0.1:9876
#
# The broker also takes BROKER_PORT-2 (its VIP port) and BROKER_PORT+1 (replication).
# DIR holds everything: conf/, logs/, store/, namesrv.pid, broker.pid. Starting in an old DIR keeps its store.
#
# Environment, all optional:
#   BROKER_HEAP       default "-Xms4g -Xmx4g -Xmn2g"; half of what Apache's runbroker.sh sets, same proportions
#   NAMESRV_HEAP      default "-Xms256m -Xmx256m"
#   COMMITLOG_BYTES   mappedFileSizeCommitLog; Apache's default is 1 GiB, tests want less disk
#   BROKER_EXTRA      more broker.conf lines, separated by newlines
#   BROKER_NAME       default broker-a
#   READY_SECONDS     how long start waits, default 60
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lib=$here/target/lib

# The store reads memory addresses of direct and mapped buffers by reflection, netty and the JSON library look into
# java.lang and java.util. Apache's runbroker.sh opens only what Java 11 needs; Java 17 refuses the rest by default.
opens=()
for package in java.base/java.lang java.base/java.lang.reflect java.base/java.util java.base/java.util.concurrent \
    java.base/java.io java.base/java.net java.base/java.nio java.base/sun.nio.ch java.base/sun.security.x509 \
    java.base/jdk.internal.misc java.base/jdk.internal.ref java.management/sun.management \
    jdk.management/com.sun.management.internal; do
    opens+=("--add-opens=$package=ALL-UNNAMED")
done
opens+=(--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-exports=java.base/sun.nio.ch=ALL-UNNAMED
    --add-exports=java.base/sun.security.x509=ALL-UNNAMED)

# As in runbroker.sh, so that a comparison meets the collector that operators run.
broker_gc=(-XX:+UseG1GC -XX:G1HeapRegionSize=16m -XX:G1ReservePercent=25 -XX:InitiatingHeapOccupancyPercent=30
    -XX:SoftRefLRUPolicyMSPerMB=0 -XX:-OmitStackTraceInFastThrow -XX:+AlwaysPreTouch -XX:MaxDirectMemorySize=15g)

die() {
    echo "run.sh: $*" >&2
    exit 1
}

fetch() {
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib" -DincludeScope=runtime
    echo "$(find "$lib" -name '*.jar' | wc -l) jars in target/lib"
}

# True if the process of this pid file is alive and is one of ours: a pid may have been given to somebody else.
alive() {
    local pid_file=$1 pid
    [[ -f $pid_file ]] || return 1
    pid=$(<"$pid_file")
    [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *org.apache.rocketmq.* ]]
}

# Asks the NameServer for the route of TBW102, the template of all auto-created topics: who finds it can produce.
# The request is one frame: i32 length after itself = 132, i32 header length = 128, JSON header, no body.
# Nothing marks the end of an answer for a shell, hence the second of patience and cat, which does not buffer.
route_of_tbw102() {
    local port=$1
    (
        exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
        printf '\0\0\0\x84\0\0\0\x80{"code":105,"extFields":{"topic":"TBW102"},"flag":0,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":479}' >&3
        timeout 1 cat <&3 | tr -d '\0'
    ) 2>/dev/null || true
}

# The logger of RocketMQ takes no configuration from the class path of an embedder, only from this property's file.
write_logback() {
    local file=$1 log=$2
    cat >"$file" <<EOF
<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>$log</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>$log.%i</fileNamePattern>
      <minIndex>1</minIndex>
      <maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>64MB</maxFileSize>
    </triggeringPolicy>
    <encoder>
      <pattern>%d{yyyy-MM-dd HH:mm:ss.SSS} %p %t %c{0} - %m%n</pattern>
    </encoder>
  </appender>
  <root level="${LOG_LEVEL:-WARN}">
    <appender-ref ref="file"/>
  </root>
</configuration>
EOF
}

write_namesrv_conf() {
    local dir=$1 namesrv_port=$2
    write_logback "$dir/conf/rmq.namesrv.logback.xml" "$dir/logs/namesrv.log"
    cat >"$dir/conf/namesrv.conf" <<EOF
bindAddress=127.0.0.1
listenPort=$namesrv_port
kvConfigPath=$dir/namesrv/kvConfig.json
configStorePath=$dir/conf/namesrv.conf
EOF
}

write_broker_conf() {
    local dir=$1 namesrv_addresses=$2 broker_port=$3 flush=$4
    write_logback "$dir/conf/rmq.broker.logback.xml" "$dir/logs/broker.log"
    cat >"$dir/conf/broker.conf" <<EOF
brokerClusterName=DefaultCluster
brokerName=${BROKER_NAME:-broker-a}
brokerId=0
brokerRole=ASYNC_MASTER
brokerIP1=127.0.0.1
bindAddress=127.0.0.1
listenPort=$broker_port
haListenPort=$((broker_port + 1))
namesrvAddr=$namesrv_addresses
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
flushDiskType=$flush
storePathRootDir=$dir/store
storePathCommitLog=$dir/store/commitlog
mappedFileSizeCommitLog=${COMMITLOG_BYTES:-1073741824}
${BROKER_EXTRA:-}
EOF
}

# One JVM, detached from the terminal and from this script, so that start can return. It gets none of the caller's
# descriptors: a server that holds the write end of a pipe keeps the reader of that pipe waiting for ever.
launch() {
    local dir=$1 name=$2 heap=$3 main=$4
    shift 4
    # The heap is several words on purpose. user.home: default paths of the store land in DIR too, whatever is missed above.
    # shellcheck disable=SC2086
    ROCKETMQ_HOME=$dir setsid java -server $heap "$@" "${opens[@]}" \
        -Duser.home="$dir" -Drmq.logback.configurationFile="$dir/conf/rmq.$name.logback.xml" \
        -cp "$lib/*" "$main" -c "$dir/conf/$name.conf" \
        >>"$dir/logs/$name.out" 2>&1 </dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    local pid=$!
    echo "$pid" >"$dir/$name.pid"
    # Until it has become Java it is this script's copy, which alive would take for a stranger.
    until alive "$dir/$name.pid" || ! kill -0 "$pid" 2>/dev/null; do
        sleep 0.01
    done
}

# Makes the folders of an installation and prints where it is.
prepare() {
    [[ -d $lib ]] || die "no jars yet, run: run.sh fetch"
    mkdir -p "$1/conf" "$1/logs" "$1/store" "$1/namesrv"
    (cd "$1" && pwd)
}

# Waits until what a NameServer says of TBW102 matches, while these of ours live.
await_route() {
    local dir=$1 namesrv_port=$2 pattern=$3 deadline=$((SECONDS + ${READY_SECONDS:-60}))
    shift 3
    until route_of_tbw102 "$namesrv_port" | grep -q "$pattern"; do
        for name in "$@"; do
            alive "$dir/$name.pid" || { tail -n 20 "$dir/logs/$name.out" >&2; die "$name died, see $dir/logs"; }
        done
        ((SECONDS < deadline)) || die "no route of TBW102 in time, see $dir/logs; still running, run: run.sh stop $dir"
        sleep 0.2
    done
}

launch_namesrv() {
    local dir=$1 namesrv_port=$2
    if alive "$dir/namesrv.pid"; then
        die "a NameServer already runs in $dir, run: run.sh stop $dir"
    fi
    if [[ -n $(route_of_tbw102 "$namesrv_port") ]]; then
        die "port $namesrv_port is taken by another NameServer"
    fi
    write_namesrv_conf "$dir" "$namesrv_port"
    launch "$dir" namesrv "${NAMESRV_HEAP:--Xms256m -Xmx256m}" org.apache.rocketmq.namesrv.NamesrvStartup
}

launch_broker() {
    local dir=$1 namesrv_addresses=$2 broker_port=$3 flush
    case $4 in
        sync) flush=SYNC_FLUSH ;;
        async) flush=ASYNC_FLUSH ;;
        *) die "flush mode is sync or async, not $4" ;;
    esac
    if alive "$dir/broker.pid"; then
        die "a broker already runs in $dir, run: run.sh stop $dir"
    fi
    write_broker_conf "$dir" "$namesrv_addresses" "$broker_port" "$flush"
    launch "$dir" broker "${BROKER_HEAP:--Xms4g -Xmx4g -Xmn2g}" org.apache.rocketmq.broker.BrokerStartup "${broker_gc[@]}"
}

start() {
    (($# >= 3)) || die "usage: run.sh start DIR NAMESRV_PORT BROKER_PORT [sync|async]"
    local dir namesrv_port=$2 broker_port=$3
    dir=$(prepare "$1")
    launch_namesrv "$dir" "$namesrv_port"
    launch_broker "$dir" "127.0.0.1:$namesrv_port" "$broker_port" "${4:-async}"
    await_route "$dir" "$namesrv_port" "127\.0\.0\.1:$broker_port\"" namesrv broker
    echo "ready: namesrv 127.0.0.1:$namesrv_port, broker 127.0.0.1:$broker_port, ${4:-async}, pids $(<"$dir/namesrv.pid") $(<"$dir/broker.pid")"
}

start-namesrv() {
    (($# == 2)) || die "usage: run.sh start-namesrv DIR NAMESRV_PORT"
    local dir
    dir=$(prepare "$1")
    launch_namesrv "$dir" "$2"
    await_route "$dir" "$2" . namesrv
    echo "ready: namesrv 127.0.0.1:$2, pid $(<"$dir/namesrv.pid")"
}

# Ready when the last of the NameServers shows it.
start-broker() {
    (($# >= 3)) || die "usage: run.sh start-broker DIR NAMESRV_ADDRESSES BROKER_PORT [sync|async]"
    local dir
    dir=$(prepare "$1")
    launch_broker "$dir" "$2" "$3" "${4:-async}"
    await_route "$dir" "${2##*:}" "127\.0\.0\.1:$3\"" broker
    echo "ready: broker 127.0.0.1:$3 at $2, ${4:-async}, pid $(<"$dir/broker.pid")"
}

# SIGTERM runs Apache's shutdown hook, which flushes and removes the abort file. A broker that hangs is killed after 60 s.
end() {
    local pid_file=$1 pid deadline=$((SECONDS + 60))
    if alive "$pid_file"; then
        pid=$(<"$pid_file")
        kill "$pid"
        while alive "$pid_file"; do
            if ((SECONDS >= deadline)); then
                echo "run.sh: pid $pid ignores SIGTERM, killed" >&2
                kill -9 "$pid"
            fi
            sleep 0.2
        done
    fi
    rm -f "$pid_file"
}

stop() {
    (($# == 1)) || die "usage: run.sh stop DIR"
    end "$1/broker.pid"
    end "$1/namesrv.pid"
}

# Tools read the log level from the same property; without a file they log into the home directory.
admin() {
    local quiet
    quiet=$(mktemp -d)
    write_logback "$quiet/logback.xml" "$quiet/tools.log"
    ROCKETMQ_HOME=$quiet java -Xmx256m "${opens[@]}" -Duser.home="$quiet" \
        -Drmq.logback.configurationFile="$quiet/logback.xml" \
        -cp "$lib/*" org.apache.rocketmq.tools.command.MQAdminStartup "$@"
    rm -rf "$quiet"
}

command=${1:-}
shift || true
case $command in
    fetch | start | start-namesrv | start-broker | stop | admin) "$command" "$@" ;;
    *) die "usage: run.sh fetch|start|start-namesrv|start-broker|stop|admin ..." ;;
esac
