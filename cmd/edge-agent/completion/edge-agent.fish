# Completion of edge-agent for fish, made by `edge-agent completion fish`.
#
#   edge-agent completion fish | source      or save it in ~/.config/fish/completions/edge-agent.fish
#
# The program itself says what may come next, one word and its help a line, so this never grows old.
function __edge_agent_complete
    set -l words (commandline -opc)
    set -l now (commandline -ct)
    for line in ($words[1] __complete fish $words[2..] "$now" 2>/dev/null)
        switch $line
            case ':files*'
                set -l flag (string match -r -- '^--[^=]*=' $now)
                printf "$flag%s\n" (__fish_complete_path (string replace -- "$flag" '' $now))
            case '*'
                echo $line
        end
    end
end
complete -c edge-agent -f -a '(__edge_agent_complete)'
