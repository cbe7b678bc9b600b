#compdef edge-agent
# Completion of edge-agent for zsh, made by `edge-agent completion zsh`.
#
#   source <(edge-agent completion zsh)      after compinit; or save it as _edge-agent in a folder of $fpath
#
# The program itself says what may come next, one word and its help a line, so this never grows old.
_edge_agent() {
	local line word
	local -a whole open
	for line in "${(@f)$("${(Q)words[1]}" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		word=${line%%$'\t'*}
		case $word in
		'') continue ;;
		:files)
			compset -P '--*='
			_files
			return
			;;
		*[=:]) open+=("${word//:/\\:}:${line#*$'\t'}") ;; # not complete: no blank after it
		*) whole+=("${word//:/\\:}:${line#*$'\t'}") ;;
		esac
	done
	_describe -t words 'next' whole -- open -S ''
}
if [[ $funcstack[1] == _edge-agent ]]; then
	_edge_agent "$@"
else
	compdef _edge_agent edge-agent
fi
