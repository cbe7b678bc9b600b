package mqtt

import (
	"context"
	"net"

	"github.com/google/uuid"
)

// Reach tries whether a broker can be used: connection, certificates and login, as another client than the agent, whose
// connection it leaves alone. AWS IoT Core may refuse other clients: there it does without the login. The error is an
// *Error.
func Reach(ctx context.Context, b Broker, profile Profile) error {
	dial := (&net.Dialer{}).DialContext
	if profile == AWSIoT {
		addr, err := b.check()
		if err != nil {
			return err
		}
		conn, err := b.connect(ctx, dial, addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	link, err := openLink(ctx, b, dial, "check-"+uuid.NewString(), nil)
	if err != nil {
		return err
	}
	link.close(true)
	return nil
}
