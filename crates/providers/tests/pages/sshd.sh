# Keeps an sshd of its own for a test, in the folder $1, and a small disk at $1/disk when $2 says how small.
# It does what its input says, one word a line, and ends all of it when its input ends, however the test ended.
folder=$1 size=$2
trap '' INT TERM HUP PIPE

listens() {
    ss -Hltn "sport = :$(sed -n 's/^Port //p' "$folder/sshd_config")" | grep -q .
}

begin() {
    mkdir -p /run/sshd "$folder/disk"
    [ -z "$size" ] || mount -t tmpfs -o "size=$size" linkflow-test "$folder/disk" || return 1
    start
}

start() {
    /usr/sbin/sshd -D -e -f "$folder/sshd_config" >>"$folder/sshd.log" 2>&1 &
    pid=$!
    tries=0
    until listens; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || return 1
        sleep 0.1
    done
}

# Ends what is under way, as a machine that dies does.
cut() {
    # shellcheck disable=SC2013 # they are words
    for child in $(cat "/proc/$pid/task/$pid/children"); do
        kill_below "$child"
    done
}

kill_below() {
    for below in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        (kill_below "$below")
    done
    kill -KILL "$1" 2>/dev/null
}

stop() {
    cut
    kill -TERM "$pid" && wait "$pid"
    return 0
}

say() {
    if "$@" 2>>"$folder/keeper.log"; then echo ok; else echo "no: $*"; fi
}

say begin
while read -r word; do
    say "$word"
done
stop
[ -z "$size" ] || umount -l "$folder/disk"
rm -rf "$folder"
