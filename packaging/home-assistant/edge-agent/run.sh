#!/usr/bin/with-contenv bashio
# Turns the options of the app into environment variables, and becomes the agent.
# shellcheck shell=bash
set -euo pipefail
umask 077

options=${EDGE_AGENT_OPTIONS:-/data/options.json}
private=${EDGE_AGENT_PRIVATE:-/data/private}
mkdir -p "$private"
unset EDGE_AGENT_OPTIONS EDGE_AGENT_PRIVATE

# option NAME prints an option, or nothing.
option() {
	jq -r --arg name "$1" '.[$name] // ""' "$options"
}

AWS_ACCESS_KEY_ID=$(option access_key_id)
AWS_SECRET_ACCESS_KEY=$(option secret_access_key)
EDGE_AGENT_AWS_REGION=$(option region)
EDGE_AGENT_STREAMS=$(jq -r '[.streams[]? | .name + "=" + .stream] | join(",")' "$options")
EDGE_AGENT_DISPLAY_SHOW=$(option show)
EDGE_AGENT_DISPLAY_CONNECTOR=$(option connector)
EDGE_AGENT_LOG_LEVEL=$(option log_level)
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY EDGE_AGENT_AWS_REGION EDGE_AGENT_STREAMS
export EDGE_AGENT_DISPLAY_SHOW EDGE_AGENT_DISPLAY_CONNECTOR EDGE_AGENT_LOG_LEVEL
export EDGE_AGENT_DISPLAY_SINK=kms
export EDGE_AGENT_AGENT_STATE_DIR="${private%/*}/state"

# The watchdog of the Supervisor asks from another address. Without a token of the options nobody else can know it.
token=$(option http_token)
if [ -z "$token" ] && [ ! -s "$private/http-token" ]; then
	token=$(head -c 24 /dev/urandom | base64)
fi
if [ -n "$token" ]; then
	printf '%s\n' "$token" >"$private/http-token"
fi
export EDGE_AGENT_HTTP_LISTEN=0.0.0.0:9464 EDGE_AGENT_HTTP_TOKEN_FILE="$private/http-token"

# The broker that Home Assistant knows, on the network of the Supervisor. Then the agent is there with all its entities.
if bashio::services.available mqtt; then
	scheme=mqtt
	if bashio::var.true "$(bashio::services mqtt ssl)"; then
		scheme=mqtts
	else
		export EDGE_AGENT_MQTT_ALLOW_PLAINTEXT=true
	fi
	EDGE_AGENT_MQTT_BROKER="$scheme://$(bashio::services mqtt host):$(bashio::services mqtt port)"
	export EDGE_AGENT_MQTT_BROKER
	# What a service does not have is the word null.
	username=$(bashio::services mqtt username)
	if [[ -n $username && $username != null ]]; then
		bashio::services mqtt password >"$private/mqtt-password"
		export EDGE_AGENT_MQTT_USERNAME=$username
		export EDGE_AGENT_MQTT_PASSWORD_FILE="$private/mqtt-password"
	fi
	export EDGE_AGENT_HOMEASSISTANT_ENABLED=true
fi

exec edge-agent "${@:-run}"
