# Keeps a machine of its own for a test: dockerd, a registry and sshd, each in the folder $1.
# It does what its input says, one word a line, and ends all of it when its input ends, however the test ended.
#
# keeper.sh FOLDER BRIDGE ADDRESS SIZE-OF-DATA
folder=$1 bridge=$2 address=$3 data=$4
export DOCKER_HOST="unix://$folder/docker.sock"
trap '' INT TERM HUP PIPE

wait_for() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || return 1
        sleep 0.1
    done
}

start_docker() {
    # No rule of the machine's firewall is touched: Docker's own proxies carry what is published.
    dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/dockerd.pid" \
        --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge "$bridge" >>"$folder/dockerd.log" 2>&1 9>&- &
    docker_pid=$!
    wait_for docker version || return 1
}

stop_docker() {
    kill -TERM "$docker_pid" && wait "$docker_pid"
    return 0
}

start_ssh() {
    /usr/sbin/sshd -D -e -f "$folder/sshd_config" >>"$folder/sshd.log" 2>&1 9>&- &
    ssh_pid=$!
    wait_for ssh_listens
}

ssh_listens() {
    ss -Hltn "sport = :$(sed -n 's/^Port //p' "$folder/sshd_config")" | grep -q .
}

cut_ssh() {
    # shellcheck disable=SC2013 # they are words
    for child in $(cat "/proc/$ssh_pid/task/$ssh_pid/children"); do
        for session in $(cat "/proc/$child/task/$child/children") "$child"; do
            kill -KILL "$session" 2>/dev/null
        done
    done
}

stop_ssh() {
    cut_ssh
    kill -TERM "$ssh_pid" && wait "$ssh_pid"
    return 0
}

begin() {
    mkdir -p "$folder/data" "$folder/exec" /run/sshd
    if [ -n "$data" ]; then
        mount -t tmpfs -o "size=$data" linkflow-test "$folder/data" || return 1
    fi
    # An address of its own: otherwise it has that of one of its containers, which changes as they come and go.
    ip link add "$bridge" address 02:42:00:00:00:01 type bridge && ip addr add "$address/24" dev "$bridge" && ip link set "$bridge" up || return 1
    docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 9>&- &
    registry_pid=$!
    start_ssh
    start_docker
}

finish() {
    kill -TERM "$ssh_pid" "$registry_pid"
    all=$(timeout 10 docker ps -aq)
    # shellcheck disable=SC2086 # ids are words
    [ -z "$all" ] || timeout 30 docker rm -f $all
    kill -TERM "$docker_pid"
    tries=0
    while kill -0 "$docker_pid" && [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -KILL "$docker_pid"
    ip link del "$bridge"
    while read -r _ place _; do
        case $place in "$folder"/*) umount -l "$place" ;; esac
    done </proc/mounts
    rm -rf "$folder"
}

if begin 2>"$folder/begin.log"; then echo ok; else echo "no: $(cat "$folder/begin.log" "$folder/dockerd.log" | tail -n 3 | tr '\n' ' ')"; fi
while read -r word; do
    if "$word"; then echo ok; else echo "no: $word"; fi
done
finish >/dev/null 2>&1
