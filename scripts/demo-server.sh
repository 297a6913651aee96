# shellcheck shell=bash
# Sourced by the demos: starts the web server among "$programs", which writes the list of its URLs to "$1".
# Sets base, its address, server, its process, and settings, which both demos need.
# shellcheck disable=SC2034,SC2154

# The server ends by itself when its stdin closes: whatever happens to the demo, none is left behind.
coproc SERVER { exec "$programs/demo-server" --list "$1"; }
# A server that has died already has left neither of them.
server=${SERVER_PID:-}
answers=${SERVER[0]:-}
if [ -z "$answers" ] || ! read -r base <&"$answers"; then
    echo 'demo: the web server of the demo did not start (its message is above)' >&2
    exit 1
fi

# Settings of the program that both demos need: loopback is no public address, and nobody wants to wait long.
settings=(--allow-network 127.0.0.0/8 --set fetch.read_timeout=1s --set retry.attempts=2)
if [ -n "${FACEMILL_ASSETS:-}" ]; then
    settings+=(--set "detect.model=$FACEMILL_ASSETS/face_detection_yunet_2023mar.onnx"
        --set "detect.runtime_library=$FACEMILL_ASSETS/libonnxruntime.so")
fi
