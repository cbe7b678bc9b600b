package mqtt

import (
	"log/slog"
	"net"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Config is what a Client needs to know.
type Config struct {
	Broker   Broker
	Profile  Profile // what the broker is; "" means Standard
	Prefix   string  // "" means DefaultPrefix
	AgentID  string
	StateDir string       // a folder for what outlives the agent, events.db and events.count; "" means nothing does
	Shadow   *Shadow      // nil means that no device shadow is kept
	Control  *Control     // nil means that commands are not even listened to
	Logger   *slog.Logger // nil means slog.Default()

	HomeAssistant *HomeAssistant // nil: it is told nothing, and what an earlier run told it is taken back
}

// checkProfile finds what AWS IoT Core would not have.
func (c Config) checkProfile() error {
	if c.Shadow != nil {
		if err := ValidThingName(c.Shadow.Thing); err != nil {
			return contract.ConfigError("shadow: %w", err)
		}
	}
	switch {
	case c.Profile == "" || c.Profile == Standard:
		return nil
	case c.Profile != AWSIoT:
		return contract.ConfigError("profile %q is not known; there are %q and %q", c.Profile, Standard, AWSIoT)
	}
	addr, err := c.Broker.check()
	switch {
	case err != nil:
		return err
	case !addr.tls:
		return contract.ConfigError("broker: AWS IoT Core wants TLS; use mqtts://")
	case net.ParseIP(addr.host) != nil:
		return contract.ConfigError("broker: AWS IoT Core has to be called by its host name, by which it finds the account")
	case c.Broker.CertFile == "":
		return contract.ConfigError("cert_file and key_file: AWS IoT Core knows the box by its certificate")
	case c.Broker.Username != "":
		return contract.ConfigError("username: AWS IoT Core knows the box by its certificate")
	}
	if err := ValidThingName(c.Broker.ClientID); err != nil {
		return contract.ConfigError("client id: %w", err)
	}
	return nil
}
