# What LinkFlow asks of a machine that shows the status page. It is sent as a whole, read as a whole and only then carried out.
# Given: root, the folder of the page. `.linkflow-page` in it lists what was put there, a path on each line.
umask 022
export PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Ends with a code that LinkFlow understands: 40 something has to be installed, 44 not there, 49 held by somebody else.
stop() {
    echo "$2" >&2
    exit "$1"
}

ours() {
    [ -e .linkflow-page ] || [ ! -e index.html ] || stop 49 "it has an index.html that LinkFlow did not put there"
}

# Writes the list, `--`, and the hash of each file of it that is there. What was sent and never used is taken away.
look() {
    for tool in sha256sum tar gzip xargs; do
        command -v "$tool" >/dev/null || stop 40 "$tool is not installed on the machine"
    done
    if [ ! -d "$root" ]; then
        above=${root%/*}
        [ -d "${above:-/}" ] || stop 44 "there is no folder ${above:-/} on the machine: make it, or correct the address"
        mkdir "$root" || exit 1
    fi
    cd "$root" || exit 1
    [ -w . ] || stop 1 "permission denied: $(id -un) may not write into $root"
    ours
    find . -maxdepth 1 -name '.linkflow-page.new-*' -mmin +10 -exec rm -rf {} +
    if [ -e .linkflow-page ]; then
        cat .linkflow-page || exit 1
        printf '\n--\n'
        # Those that are gone have no hash.
        tr '\n' '\0' <.linkflow-page | xargs -0 sha256sum 2>/dev/null
    else
        printf '\n--\n'
    fi
    return 0
}

# Makes the folder $1, for what is sent.
begin() {
    cd "$root" && mkdir "$1"
}

forget() {
    cd "$root" && rm -rf "$1"
}

# Moves what was sent into the folder $1 to its places.
publish() {
    cd "$root/$1" || exit 1
    sha256sum -c sums >/dev/null 2>&1 || stop 1 "what was sent did not arrive whole"
    cd .. || exit 1
    ours
    # Noted before anything is written: a change that is cut off leaves no file that nobody knows.
    mv -f "$1/union" .linkflow-page || exit 1
    while read -r number path; do
        case $path in
            */*) mkdir -p "${path%/*}" || exit 1 ;;
        esac
        [ ! -d "$path" ] || stop 49 "$path is a folder that LinkFlow did not make"
        mv -f "$1/$number" "$path" || exit 1
    done <"$1/moves"
    while read -r path; do
        rm -f "$path" || exit 1
    done <"$1/gone"
    mv -f "$1/list" .linkflow-page || exit 1
    rm -rf "$1"
}

