# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_openstudio_signaling_global_optspecs
    string join \n port= host= log-level= station-manifest= web-root= check-page= allowed-origins= trusted-proxies= metrics= tls-cert= tls-key= jwt-secret= turn-secret= turn-ttl-ms= room-ttl-ms= max-room-peers= heartbeat-ms= rate-limit= max-connections= max-connections-per-ip= max-message-bytes= max-outbox-bytes= shutdown-grace-ms= settings-file= h/help V/version
end

function __fish_openstudio_signaling_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_openstudio_signaling_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_openstudio_signaling_using_subcommand
    set -l cmd (__fish_openstudio_signaling_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l port -d 'TCP port to listen on (0: any free one, see the log); no effect under the socket unit [a whole number from 0 to 65535; default: 3000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l host -d 'Address to listen on (::, IPv4 and IPv6); no effect under the socket unit [an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1; default: ::]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l log-level -d 'Lowest level to log; debug has a line for every message [one of error, warn, info, debug; default: info]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l station-manifest -d 'The station\'s name, address, STUN and TURN servers (JSON); read again at SIGHUP [the path of a file; default: /etc/openstudio-signaling/station-manifest.json, else a sample]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l web-root -d 'Directory of the web studio, or a link to it, served on the same port; hidden files (but for .well-known) and links out of it are not [the path of a directory; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l check-page -d 'Whether /check has the page that tries everything in a browser [on or off; default: on]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l allowed-origins -d 'Web pages that may connect, by origin; browsers elsewhere get HTTP 403 [origins such as https://studio.example.org, with commas between them (leave it empty for any); default: any origin]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l trusted-proxies -d 'Proxies whose X-Forwarded-For says who the client is [addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l metrics -d 'Who may see /metrics: on (everybody), off (nobody), or only these networks; name this machine as well, if it scrapes [on, off, or addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: this machine and TRUSTED_PROXIES]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l tls-cert -d 'Certificate chain (PEM) for wss:// and https:// without a proxy, with TLS_KEY; read again at SIGHUP [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l tls-key -d 'Private key (PEM) of the certificate; better the credential tls-key [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l jwt-secret -d 'Key that signs invites and room tokens, 32 bytes or more; better the credential jwt-secret [a line of text; default: made at the first start]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l turn-secret -d 'The TURN server\'s static-auth-secret, for credentials of each peer; better the credential turn-secret [a line of text; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l turn-ttl-ms -d 'How long in ms a TURN credential is valid [a whole number from 1 to 604800000; default: 14400000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l room-ttl-ms -d 'Age in ms at which a room ends (0: when the last one leaves) [a whole number from 0 to 2592000000; default: 0]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l max-room-peers -d 'Peers in one room (0: no limit); further ones are told that it is full [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l heartbeat-ms -d 'Silence in ms after which a client is pinged; one that does not answer within 10 s is closed [a whole number from 1 to 3600000; default: 25000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l rate-limit -d 'Messages a client may send in 10 s (0: no limit) [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l max-connections -d 'Clients at the same time; further ones get HTTP 503 [a whole number from 1 to 1000000; default: what the file limit carries]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l max-connections-per-ip -d 'Clients at the same time from one IPv4 address or IPv6 /64 (0: no limit); further ones get close 4008 [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l max-message-bytes -d 'Largest message in bytes; a larger one ends the connection with close 1009 [a whole number from 1 to 16777216; default: 65536]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l max-outbox-bytes -d 'Bytes that may wait for a client that reads too slowly; more end it with close 4102 [a whole number from 1130 to 1073741824, and 106 more than MAX_MESSAGE_BYTES; default: 1048576]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l shutdown-grace-ms -d 'Time in ms that clients have to leave on SIGTERM before they are cut off [a whole number from 0 to 3600000; default: 10000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -l settings-file -d 'Read settings from NAME=value lines, again at SIGHUP; flags and environment go first; -FILE may be absent' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -s h -l help -d 'Print help'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -s V -l version -d 'Print version'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -f -a "serve" -d 'Run the server (what happens without a command)'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -f -a "check" -d 'Try a running server step by step: TLS, health, WebSocket handshake, welcome, ping'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_needs_command" -f -a "config" -d 'Print the effective settings and where each came from'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l port -d 'TCP port to listen on (0: any free one, see the log); no effect under the socket unit [a whole number from 0 to 65535; default: 3000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l host -d 'Address to listen on (::, IPv4 and IPv6); no effect under the socket unit [an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1; default: ::]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l log-level -d 'Lowest level to log; debug has a line for every message [one of error, warn, info, debug; default: info]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l station-manifest -d 'The station\'s name, address, STUN and TURN servers (JSON); read again at SIGHUP [the path of a file; default: /etc/openstudio-signaling/station-manifest.json, else a sample]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l web-root -d 'Directory of the web studio, or a link to it, served on the same port; hidden files (but for .well-known) and links out of it are not [the path of a directory; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l check-page -d 'Whether /check has the page that tries everything in a browser [on or off; default: on]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l allowed-origins -d 'Web pages that may connect, by origin; browsers elsewhere get HTTP 403 [origins such as https://studio.example.org, with commas between them (leave it empty for any); default: any origin]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l trusted-proxies -d 'Proxies whose X-Forwarded-For says who the client is [addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l metrics -d 'Who may see /metrics: on (everybody), off (nobody), or only these networks; name this machine as well, if it scrapes [on, off, or addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: this machine and TRUSTED_PROXIES]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l tls-cert -d 'Certificate chain (PEM) for wss:// and https:// without a proxy, with TLS_KEY; read again at SIGHUP [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l tls-key -d 'Private key (PEM) of the certificate; better the credential tls-key [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l jwt-secret -d 'Key that signs invites and room tokens, 32 bytes or more; better the credential jwt-secret [a line of text; default: made at the first start]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l turn-secret -d 'The TURN server\'s static-auth-secret, for credentials of each peer; better the credential turn-secret [a line of text; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l turn-ttl-ms -d 'How long in ms a TURN credential is valid [a whole number from 1 to 604800000; default: 14400000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l room-ttl-ms -d 'Age in ms at which a room ends (0: when the last one leaves) [a whole number from 0 to 2592000000; default: 0]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l max-room-peers -d 'Peers in one room (0: no limit); further ones are told that it is full [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l heartbeat-ms -d 'Silence in ms after which a client is pinged; one that does not answer within 10 s is closed [a whole number from 1 to 3600000; default: 25000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l rate-limit -d 'Messages a client may send in 10 s (0: no limit) [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l max-connections -d 'Clients at the same time; further ones get HTTP 503 [a whole number from 1 to 1000000; default: what the file limit carries]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l max-connections-per-ip -d 'Clients at the same time from one IPv4 address or IPv6 /64 (0: no limit); further ones get close 4008 [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l max-message-bytes -d 'Largest message in bytes; a larger one ends the connection with close 1009 [a whole number from 1 to 16777216; default: 65536]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l max-outbox-bytes -d 'Bytes that may wait for a client that reads too slowly; more end it with close 4102 [a whole number from 1130 to 1073741824, and 106 more than MAX_MESSAGE_BYTES; default: 1048576]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l shutdown-grace-ms -d 'Time in ms that clients have to leave on SIGTERM before they are cut off [a whole number from 0 to 3600000; default: 10000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -l settings-file -d 'Read settings from NAME=value lines, again at SIGHUP; flags and environment go first; -FILE may be absent' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand serve" -s h -l help -d 'Print help'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l interval -d 'The time from one ping to the next, 0.2 to 3600' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l count -d 'End --watch after so many pings, 1 to 4294967295 [default: never]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l timeout -d 'How long each step and each ping may take, 0.1 to 3600' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l ready -d 'Ask nothing but /ready, by one request and without a WebSocket: for health checks that come every minute'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l call -d 'Let two peers meet in a room of their own, and relay an offer, an answer and candidates between them; say which ICE servers they get'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l watch -d 'Go on with a ping every --interval until Ctrl-C or --count, then say how many were lost, and min, avg, p99 (at most 3 % too high), max and mdev of the round trips in ms; a connection that ends is one lost ping, and is made again'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -l json -d 'Print one JSON object a line: each step, each ping, the summary'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand check" -s h -l help -d 'Print help'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l port -d 'TCP port to listen on (0: any free one, see the log); no effect under the socket unit [a whole number from 0 to 65535; default: 3000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l host -d 'Address to listen on (::, IPv4 and IPv6); no effect under the socket unit [an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1; default: ::]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l log-level -d 'Lowest level to log; debug has a line for every message [one of error, warn, info, debug; default: info]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l station-manifest -d 'The station\'s name, address, STUN and TURN servers (JSON); read again at SIGHUP [the path of a file; default: /etc/openstudio-signaling/station-manifest.json, else a sample]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l web-root -d 'Directory of the web studio, or a link to it, served on the same port; hidden files (but for .well-known) and links out of it are not [the path of a directory; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l check-page -d 'Whether /check has the page that tries everything in a browser [on or off; default: on]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l allowed-origins -d 'Web pages that may connect, by origin; browsers elsewhere get HTTP 403 [origins such as https://studio.example.org, with commas between them (leave it empty for any); default: any origin]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l trusted-proxies -d 'Proxies whose X-Forwarded-For says who the client is [addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l metrics -d 'Who may see /metrics: on (everybody), off (nobody), or only these networks; name this machine as well, if it scrapes [on, off, or addresses or networks such as 127.0.0.1,::1,10.0.0.0/8; default: this machine and TRUSTED_PROXIES]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l tls-cert -d 'Certificate chain (PEM) for wss:// and https:// without a proxy, with TLS_KEY; read again at SIGHUP [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l tls-key -d 'Private key (PEM) of the certificate; better the credential tls-key [the path of a file; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l jwt-secret -d 'Key that signs invites and room tokens, 32 bytes or more; better the credential jwt-secret [a line of text; default: made at the first start]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l turn-secret -d 'The TURN server\'s static-auth-secret, for credentials of each peer; better the credential turn-secret [a line of text; default: not set]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l turn-ttl-ms -d 'How long in ms a TURN credential is valid [a whole number from 1 to 604800000; default: 14400000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l room-ttl-ms -d 'Age in ms at which a room ends (0: when the last one leaves) [a whole number from 0 to 2592000000; default: 0]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l max-room-peers -d 'Peers in one room (0: no limit); further ones are told that it is full [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l heartbeat-ms -d 'Silence in ms after which a client is pinged; one that does not answer within 10 s is closed [a whole number from 1 to 3600000; default: 25000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l rate-limit -d 'Messages a client may send in 10 s (0: no limit) [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l max-connections -d 'Clients at the same time; further ones get HTTP 503 [a whole number from 1 to 1000000; default: what the file limit carries]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l max-connections-per-ip -d 'Clients at the same time from one IPv4 address or IPv6 /64 (0: no limit); further ones get close 4008 [a whole number from 0 to 1000000; default: 100]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l max-message-bytes -d 'Largest message in bytes; a larger one ends the connection with close 1009 [a whole number from 1 to 16777216; default: 65536]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l max-outbox-bytes -d 'Bytes that may wait for a client that reads too slowly; more end it with close 4102 [a whole number from 1130 to 1073741824, and 106 more than MAX_MESSAGE_BYTES; default: 1048576]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l shutdown-grace-ms -d 'Time in ms that clients have to leave on SIGTERM before they are cut off [a whole number from 0 to 3600000; default: 10000]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l settings-file -d 'Read settings from this file [default: /etc/default/openstudio-signaling, if it is there]' -r
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -l reload -d 'Look only at what a reload of the service would look at: the settings, the station manifest and the certificate'
complete -c openstudio-signaling -n "__fish_openstudio_signaling_using_subcommand config" -s h -l help -d 'Print help'
