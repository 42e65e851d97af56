"""WebRTC for devices that have a WebSocket: JSON and PCM16 on one side, data channel and RTP on the other."""
