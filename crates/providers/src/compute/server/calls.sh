# What LinkFlow asks of a machine in one go. It is sent as a whole, read as a whole and only then carried out.
# Given: base, root, stack, provider.
#
# Folders:  root = base/STACK/PROVIDER,  root/SERVICE/rN-HASH: one release,  root/.jobs/ID/run: one job.
# root/SERVICE/current names the release that serves; state says how the work on it goes: `FOLDER WORD`, then why.

# Ends with a code that LinkFlow understands: 40 something has to be installed, 44 not there, 49 held by somebody else.
stop() {
    echo "$2" >&2
    exit "$1"
}

need() {
    command -v docker >/dev/null || stop 40 "docker is not installed: on Debian \`apt-get install docker.io docker-compose\`"
    for tool in flock setsid; do
        command -v "$tool" >/dev/null || stop 40 "$tool is not installed: on Debian \`apt-get install util-linux\`"
    done
}

# Writes the text $2 into the file $1, whole or not at all.
put() {
    printf '%s\n' "$2" | cat >"$1.new" && mv -f "$1.new" "$1"
}

pause() {
    sleep 0.1 2>/dev/null || sleep 1
}

# The containers of this stack with the label $1, the options of `docker ps` behind it.
containers() {
    label=$1
    shift
    docker ps --no-trunc --filter "label=linkflow.stack=$stack" --filter "label=linkflow.provider=$provider" \
        --filter "label=$label" "$@"
}

# How the folder $1 stands: cur, target, word, count.
standing() {
    cur='' target='' word='' count=''
    [ ! -e "$1/current" ] || read -r cur <"$1/current"
    [ ! -e "$1/state" ] || read -r target word <"$1/state"
    [ ! -e "$1/$cur/replicas" ] || read -r count <"$1/$cur/replicas"
}

# Whether work is under way in the folder $1; p is its process group.
alive() {
    p=''
    [ ! -e "$1/pid" ] || read -r p <"$1/pid"
    [ -n "$p" ] && { tr '\0' '\n' <"/proc/$p/cmdline" | grep -qxF "$1/work.sh"; } 2>/dev/null
}

# Ends the work under way in the folder $1. Whatever is half done is made whole by the work that follows.
halt() {
    alive "$1" || return 0
    kill -TERM "-$p" 2>/dev/null
    tries=0
    while alive "$1"; do
        tries=$((tries + 1))
        [ "$tries" -ne 30 ] || kill -KILL "-$p" 2>/dev/null
        [ "$tries" -lt 100 ] || stop 49 "the work under way in $1 does not end"
        pause
    done
    # What it had started is of the same group, and was told as well.
    tries=0
    while kill -0 "-$p" 2>/dev/null && [ "$tries" -lt 3 ]; do
        tries=$((tries + 1))
        pause
    done
}

# One at a time changes the folder $1.
lock() {
    exec 9>>"$1/lock" || exit
    flock 9 || exit
}

# Starts the work in the folder $1 on its part $2, as a process of its own that needs nobody to wait for it.
launch() {
    put "$1/work.sh" "$work" && put "$1/state" "$2 under: begins" || exit
    setsid sh "$1/work.sh" "$base" "$1" "$2" "$3" </dev/null >"$1/work.log" 2>&1 9>&- &
    put "$1/pid" "$!" || exit
    tries=0
    until alive "$1" || [ "$tries" -ge 20 ]; do
        tries=$((tries + 1))
        pause
    done
}

# Writes the files of the folder $1.
fill() {
    mkdir -p "$1" && put "$1/compose.yml" "$compose_yml" && put "$1/env.yml" "$env_yml" && put "$1/image" "$image" &&
        put "$1/meta" "$meta" && put "$1/plan" "$plan" || exit
    if [ -n "$login" ]; then
        put "$1/login" "$login" || exit
    fi
}

# What there is: containers as JSON, then one line for each service.
look() {
    need
    containers linkflow.service -a --format '{{json .}}' || exit
    for d in "$root"/*/; do
        d=${d%/}
        [ -e "$d/state" ] || continue
        standing "$d"
        shown=${cur:-$target}
        meta='- - -'
        [ ! -e "$d/$shown/meta" ] || read -r meta <"$d/$shown/meta"
        [ ! -e "$d/$shown/replicas" ] || read -r count <"$d/$shown/replicas"
        at=idle
        ! alive "$d" || at=busy
        echo "service ${d##*/} ${cur:--} $target ${count:--} $at ${meta} ${word:--}"
    done
}

# How many containers of the release $1 of the service $2 run.
running() {
    containers "linkflow.folder=$1" --filter "label=linkflow.service=$2" -q | wc -l
}

# Has the release $3 of the service $1 run $4 times, unless one with the hash $2 does already. Says which folder it is.
deploy() {
    need
    d=$root/$1
    mkdir -p "$d" || exit
    lock "$d"
    standing "$d"
    at=$3
    held=''
    if alive "$d"; then
        case $target in *-"$2")
            at=$target
            [ ! -e "$d/$at/replicas" ] || read -r held <"$d/$at/replicas"
            ;;
        esac
        if [ "$held" = "$4" ]; then
            echo "$at"
            return
        fi
    fi
    case $cur in *-"$2")
        at=$cur
        if [ "$target $word" = "$cur done" ] && [ "$count" = "$4" ] && [ "$(running "$at" "$1")" -eq "$4" ]; then
            echo "$at"
            return
        fi
        ;;
    esac
    halt "$d"
    [ "$at" = "$cur" ] || fill "$d/$at"
    put "$d/$at/replicas" "$4" || exit
    launch "$d" "$at" service
    echo "$at"
}

# Has what is deployed of the service $1 run $2 times.
scale() {
    need
    d=$root/$1
    [ -d "$d" ] || stop 44 "$1 is not deployed here"
    lock "$d"
    standing "$d"
    at=$cur
    if alive "$d"; then
        case $word in under*) at=$target ;; esac
    fi
    [ -n "$at" ] || stop 44 "$1 is not deployed here"
    read -r count <"$d/$at/replicas"
    if [ "$count" = "$2" ]; then
        case $word in under*) ! alive "$d" || return 0 ;; esac
        [ "$at" != "$cur" ] || [ "$(running "$at" "$1")" -ne "$2" ] || return 0
    fi
    halt "$d"
    put "$d/$at/replicas" "$2" || exit
    launch "$d" "$at" service
}

# Starts what runs of the service $1 again.
again() {
    need
    standing "$root/$1"
    [ -n "$cur" ] || stop 44 "$1 is not deployed here"
    ids=$(containers "linkflow.folder=$cur" --filter "label=linkflow.service=$1" -q) || exit
    # shellcheck disable=SC2086 # ids are words
    [ -z "$ids" ] || docker restart -t 10 $ids >/dev/null
}

# Takes the folder $2 and all containers with the label $1 away, and the images that nothing else of ours needs.
drop() {
    need
    if [ -d "$2" ]; then
        lock "$2"
        halt "$2"
    fi
    ids=$(containers "$1" -a -q) || exit
    # shellcheck disable=SC2086 # ids are words
    if [ -n "$ids" ]; then
        docker stop -t 10 $ids >/dev/null
        docker rm -f $ids >/dev/null || exit
    fi
    images=$(cat "$2"/r*/image 2>/dev/null | sort -u)
    rm -rf "$2" || exit
    for image in $images; do
        needed "$image" || docker rmi "$image" >/dev/null 2>&1
    done
    rmdir "$root/.jobs" "$root" "${root%/*}" 2>/dev/null
    return 0
}

# Whether a release or a job that is kept uses the image $1.
needed() {
    grep -qsxF "$1" "$base"/*/*/*/r*/image "$base"/*/*/.jobs/*/run/image
}

# How the work in the folder $1 goes: `CURRENT BUSY-OR-IDLE`, then its state.
progress() {
    need
    standing "$1"
    at=idle
    ! alive "$1" || at=busy
    echo "${cur:--} $at"
    [ ! -e "$1/state" ] || cat "$1/state"
}

# The last $2 lines of each container of the service $1.
logs() {
    need
    standing "$root/$1"
    [ -n "$cur$target" ] || stop 44 "$1 is not deployed here"
    ids=$(containers "linkflow.folder=${cur:-$target}" --filter "label=linkflow.service=$1" -a -q) || exit
    for id in $ids; do
        docker logs --timestamps --tail "$2" "$id" 2>&1 || exit
    done
}

# Has the job $1 run, unless it does or did already.
run_once() {
    need
    d=$root/.jobs/$1
    mkdir -p "$d" || exit
    lock "$d"
    ! alive "$d" || return 0
    standing "$d"
    [ "$word" != failed ] || return 0
    found=$(containers "linkflow.job=$1" -a --format '{{.State}}') || exit
    case $found in '' | created) ;; *) return 0 ;; esac
    fill "$d/run"
    launch "$d" run job
}

# How the job $1 stands: `container STATUS CODE` and its last lines, or `work BUSY-OR-IDLE` and its state, or `absent`.
job() {
    need
    id=$(containers "linkflow.job=$1" -a -q) || exit
    if [ -n "$id" ]; then
        docker inspect -f 'container {{.State.Status}} {{.State.ExitCode}}' "$id" || exit
        docker logs --timestamps --tail 50 "$id" 2>&1
    elif [ -e "$root/.jobs/$1/state" ]; then
        at=idle
        ! alive "$root/.jobs/$1" || at=busy
        echo "work $at"
        cat "$root/.jobs/$1/state"
    else
        echo absent
    fi
}

forget() {
    need
    found=$(containers "linkflow.job=$1" -q) || exit
    [ -z "$found" ] || stop 49 "the job still runs"
    drop "linkflow.job=$1" "$root/.jobs/$1"
}

# Disk, memory and load of the machine.
usage() {
    need
    disk=$(docker info -f '{{.DockerRootDir}}') || exit
    df -Pk "$disk" 2>/dev/null | tail -n 1
    grep -E '^(MemTotal|MemAvailable):' /proc/meminfo
    echo "cpus $(grep -c '^processor' /proc/cpuinfo)"
    echo "load $(cat /proc/loadavg)"
}
