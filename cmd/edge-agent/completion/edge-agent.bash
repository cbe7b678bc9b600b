# Completion of edge-agent for bash, made by `edge-agent completion bash`.
#
#   source <(edge-agent completion bash)
#
# The program itself says what may come next, one word a line, so this never grows old.
_edge_agent() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		case $line in
		:files*) compopt -o default ;; # readline's own completion of file names
		*) COMPREPLY+=("${line%%$'\t'*}") ;;
		esac
	done < <("$1" __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	# What ends in = or : is not complete.
	[[ ${#COMPREPLY[@]} != 1 || $COMPREPLY != *[=:] ]] || compopt -o nospace
}
complete -F _edge_agent edge-agent
